// npm directus-sdk-javascript 1.1.3, constructed as its documentation says.
'use strict';

const {print, methodsOf, call, callBack, thing} = require('./report');
const SDK = require('client-1.1.3');

const {BASE_URL, TOKEN, VERSION, TABLE, IMAGE, MESSAGE, ONLY} = process.env;
const client = new SDK(TOKEN, `${BASE_URL}/api/`, Number(VERSION)); // sends /api//1.1/…

async function files(send) {
  const file = thing(await send('createFile', {name: 'image.png', type: 'image/png', data: IMAGE}));
  await send('getFiles');
  await send('getFile', file.id);
  await callBack(client, 'updateFile', file.id, {title: 'Picture'});
  await send('getFile: after updateFile', file.id);
}

async function main() {
  print({methods: methodsOf(client).filter(name => typeof client[name] === 'function'),
    missing: methodsOf(client).filter(name => client[name] === undefined)});
  const send = (label, ...args) => call(client, label, ...args);
  if (ONLY === 'files') return files(send);

  await send('createTable', `${TABLE}_made`);
  await send('getTables');
  await send('getTable', TABLE);
  await send('createColumn', TABLE, {column_name: 'year', data_type: 'int', char_length: 4, ui: 'numeric', comment: 'Year Build'});
  await send('getColumns', TABLE);
  await send('getColumn', TABLE, 'year');
  await send('updateColumn', TABLE, 'year', {comment: 'Built in'});
  await send('deleteColumn', TABLE, 'year');

  const row = thing(await send('createItem', TABLE, {title: 'School Website', active: 1}));
  const other = thing(await send('createItem: another', TABLE, {title: 'Museum', active: 1}));
  await send('getItems', TABLE);
  await send('getItems: with parameters', TABLE, {
    ids: [row.id, other.id], orders: {title: 'DESC'}, columns: 'title', perPage: 1, currentPage: 1,
  });
  await send('getItems: with filters', TABLE, {filters: {title: {contains: 'school'}, id: {'>=': row.id}}});
  await callBack(client, 'getItems: with a callback', TABLE);
  await send('getItem', TABLE, row.id);
  await send('updateItem', TABLE, row.id, {title: 'School'});
  await send('deleteItem', TABLE, row.id);
  await send('getItem: after deleteItem', TABLE, row.id);
  await send('deleteItem: from the database', TABLE, other.id, true);
  await send('getItem: after deleteItem from the database', TABLE, other.id);
  await send('getItems: of no table', `${TABLE}_nowhere`);

  await files(send);

  await send('getMessages');
  await send('getMessage', Number(MESSAGE));
  await send('getActivity');

  const bookmark = thing(await send('createBookmark', {title: `Drafts ${VERSION}`, table_name: TABLE, status: '2'}));
  await send('getBookmarks');
  await send('getUserBookmarks');
  if (bookmark.id) await send('getBookmark', bookmark.id);
  else await send('getBookmark', Number(process.env.BOOKMARK));
  await send('deleteBookmark', bookmark.id || Number(process.env.BOOKMARK));

  await send('getSettings');
  await send('getSettingsByCollection', 'global');
  await send('updateSettings', 'global', {project_name: 'First client'});
  await send('createPrivilege', {group_id: 1, table_name: TABLE});
  await send('getPreference', TABLE);

  const stranger = new SDK('unknown-token', `${BASE_URL}/api/`, Number(VERSION));
  await call(stranger, 'getTables: by a stranger');
}

main();
