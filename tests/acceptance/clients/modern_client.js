// npm @directus/sdk 22.0.0 and 26.0.0 (CLIENT says which): each of its utility commands.
'use strict';

const {print, call} = require('./report');

const {CLIENT, ROOT, TOKEN, TABLE, PLAIN, FIRST, LAST} = process.env;
const sdk = require(`sdk-${CLIENT}`);
const hashes = 'generateHash' in sdk; // removed in 23.0.0

const connect = token =>
  sdk.createDirectus(ROOT).with(sdk.staticToken(token)).with(sdk.rest());

/** The commands of the client whose requests go below /utils/: it is asked for each of them. */
function utilities() {
  const form = new FormData();
  const commands = ['clearCache', 'generateHash', 'verifyHash', 'randomString'];
  const named = Object.keys(sdk).filter(name => name.startsWith('util') || commands.includes(name));
  return named.filter(name => sdk[name]('a', 'b', form, form)().path.startsWith('/utils/'));
}

/** The client with its commands as methods: what they resolve with, or are rejected with. */
function methods(token) {
  const client = connect(token);
  const made = {};
  for (const name of utilities()) {
    made[name] = async (...args) => {
      try {
        return await client.request(sdk[name](...args));
      } catch (error) {
        throw error.errors ? {status: error.response.status, errors: error.errors} : error;
      }
    };
  }
  return made;
}

function form(text, type, name) {
  const made = new FormData();
  made.append('file', new Blob([text], {type}), name);
  return made;
}

async function main() {
  const client = methods(TOKEN);
  const send = (label, ...args) => call(client, label, ...args);
  print({methods: Object.keys(client), missing: []});
  await send('randomString');
  await send('randomString: of a length', 500);
  await send('randomString: too long', 501);
  await send('clearCache');
  await send('clearCache: the system too', true);
  await call(methods('no-such-token'), 'clearCache: by a stranger');
  await send('utilsImport', TABLE, form('title,sort\nc,3\nd,4\n', 'text/csv', 'rows.csv'));
  await send('utilsImport: JSON', TABLE, form('[{"title": "e", "sort": 5}]', 'application/json', 'rows.json'));
  await send('utilsImport: a bad row', TABLE, form('title,sort\nx,1\ny,z\n', 'text/csv', 'rows.csv'));
  await send('utilsImport: into no table', `${TABLE}_nowhere`, form('a\n1\n', 'text/csv', 'rows.csv'));
  await send('utilitySort', TABLE, LAST, FIRST);
  await send('utilitySort: nothing to sort by', PLAIN, 1, 2);
  await send('utilsExport', TABLE, 'csv', {fields: ['title'], sort: ['sort'], filter: {title: {_neq: 'b'}}}, {title: TABLE});
  await send('utilsExport: without a query', TABLE, 'csv', undefined, {});
  await send('utilsExport: of no table', `${TABLE}_nowhere`, 'csv', {}, {});
  if (!hashes) return;
  const made = await send('generateHash', 'secret');
  await send('generateHash: of nothing', '');
  await send('verifyHash', 'secret', made);
  await send('verifyHash: of another text', 'Secret', made);
  await send('verifyHash: no hash', 'secret', 'x');
}

main();
