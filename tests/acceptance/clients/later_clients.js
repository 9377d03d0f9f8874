// npm directus-sdk-javascript 2.5.1 and 2.15.0 (CLIENT says which), which have one shape.
'use strict';

const {print, methodsOf, call, thing} = require('./report');

const {CLIENT, BASE_URL, TOKEN, VERSION, TABLE, IMAGE, MESSAGE, EMAIL, PASSWORD, ONLY} = process.env;
const {RemoteInstance} = require(`client-${CLIENT}`);
const last = CLIENT === '2.15.0';

// 2.5.1 takes the address of the version, with the slash; 2.15.0 the server's and the version.
const connect = options =>
  new RemoteInstance({url: last ? BASE_URL : `${BASE_URL}/api/${VERSION}/`, version: VERSION, ...options});

async function tables(send) {
  await send('createTable', `${TABLE}_made`);
  await send('createTable: once more', `${TABLE}_made`);
  await send('getTables');
  await send('getTables: with the system tables', {include_system: 1});
  await send('getTable', TABLE);
  await send('getTable: of no table', `${TABLE}_nowhere`);
  await send('createColumn', TABLE, {column_name: 'year', data_type: 'int', char_length: 4, ui: 'numeric', comment: 'Year Build'});
  await send('getColumns', TABLE);
  await send('getColumn', TABLE, 'year');
  await send('updateColumn', TABLE, 'year', {comment: 'Built in'});
  await send('deleteColumn', TABLE, 'year');
}

async function items(send) {
  const row = thing(await send('createItem', TABLE, {title: 'School Website', active: 1}));
  const other = thing(await send('createItem: another', TABLE, {title: 'Museum', active: 1}));
  await send('getItems', TABLE);
  await send('getItems: with parameters', TABLE, {
    ids: [row.id, other.id], orders: {title: 'DESC'}, columns: ['title'], limit: 1, offset: 1,
  });
  await send('getItems: with filters', TABLE, {filters: {title: {contains: 'school'}, id: {'>=': row.id}}});
  await send('getItem', TABLE, row.id);
  await send('updateItem', TABLE, row.id, {title: 'School'});
  if (last) {
    await send('createItem: quietly', TABLE, {title: 'Quiet', active: 1}, {skip_activity_log: 1});
    const soft = thing(await send('createItem: to be hidden', TABLE, {title: 'Hidden', active: 1}));
    await send('deleteItem: softly', TABLE, soft.id, {soft: 1});
    await send('getItem: after deleteItem softly', TABLE, soft.id);
  }
  await send('deleteItem', TABLE, row.id);
  await send('getItem: after deleteItem', TABLE, row.id);
  await send('deleteItem: once more', TABLE, row.id);
  const made = thing(await send('createBulk', TABLE, [{title: 'A', active: 1}, {title: 'B', active: 1}]));
  const bulk = Array.isArray(made) ? made : made.rows || [];
  await send('updateBulk', TABLE, bulk.map(each => ({id: each.id, title: each.title.toLowerCase()})));
  await send('updateBulk: of no list', TABLE, {});
  await send('deleteBulk', TABLE, bulk.map(each => ({id: each.id})));
  await send('getItems: after deleteBulk', TABLE, {ids: bulk.map(each => each.id)});
  await send('getItems: of no table', `${TABLE}_nowhere`);
  await send('createItem: of no table');
}

async function files(send) {
  const file = thing(await send('createFile', {name: 'image.png', type: 'image/png', data: IMAGE}));
  await send('getFiles', {orders: {size: 'DESC'}});
  await send('getFile', file.id);
  await send('updateFile', file.id, {title: 'Picture'});
  if (last) {
    await send('deleteFile', file.id);
    await send('getFile: after deleteFile', file.id);
  }
}

async function groups(send) {
  const group = thing(await send('createGroup', `${TABLE} group`));
  await send('getGroups');
  await send('getGroup', group.id);
  await send('createPrivileges', group.id, {group_id: group.id, table_name: TABLE, allow_view: 2, allow_add: 1});
  await send('getPrivileges', group.id);
  await send('getTablePrivileges', group.id, TABLE);
  await send('updatePrivileges', group.id, TABLE);
}

async function others(send) {
  await send('getPreferences', TABLE);
  await send('updatePreference', TABLE, {sort_order: 'DESC'});
  if (last) await send('sendMessage', {subject: 'Review', message: 'Feedback, please', recipients: '0_1'});
  await send('getMessages');
  await send('getMessage', MESSAGE);
  await send('getActivity', {limit: 5});
  const bookmark = thing(await send('createBookmark', {title: `Drafts ${CLIENT} ${VERSION}`, table_name: TABLE, status: '2'}));
  await send('getBookmarks');
  await send('getUserBookmarks');
  await send('getBookmark', bookmark.id);
  await send('deleteBookmark', bookmark.id);
  await send('deleteBookmark: once more', bookmark.id);
  await send('getSettings');
  await send('getSettingsByCollection', 'global');
  await send('updateSettings', 'global', {project_name: `Client ${CLIENT}`});
  await send('getHash', 'secret');
  await send('getHash: with the text where it is sent', 'secret', {string: 'secret', hasher: 'sha256'});
  await send('getRandom', {length: 12});
}

async function users(send, client) {
  const listed = thing(await send('getUsers', {orders: {email: 'ASC'}}));
  await send('getUser', 1);
  if (!last) return;
  await send('getMe');
  const user = thing(await send('createUser', {email: `${TABLE}@shop.example`, first_name: 'Ada', password: PASSWORD, group: 1}));
  await send('updateUser', user.id, {last_name: 'Baker'});
  const theirs = connect({});
  await call(theirs, 'authenticate: as the new user', `${TABLE}@shop.example`, PASSWORD);
  await call(theirs, 'updateMe', {city: 'Oslo'});
  await call(theirs, 'updatePassword', `${PASSWORD} again`);
}

async function endpoints(send) {
  await send('getApi', `${VERSION}/tables/${TABLE}/columns`);
  await send('postApi', `${VERSION}/tables/${TABLE}/rows`, {title: 'By address', active: 1});
  await send('putApi', 'settings/global', {project_name: 'By address'});
  await send('deleteApi', 'bookmarks/987654', {});
}

async function callers(client) {
  const theirs = connect({});
  await call(theirs, 'authenticate', EMAIL, PASSWORD);
  await call(theirs, 'getTables: with the token of authenticate');
  await call(connect({}), 'authenticate: with a wrong password', EMAIL, 'wrong');
  await call(connect({accessToken: 'unknown-token'}), 'getTables: by a stranger');
  if (!last) return;
  const parameter = connect({accessToken: TOKEN, accessTokenType: 'parameter'});
  await call(parameter, 'getTables: with the token in the address');
  await call(parameter, 'setAccessTokenParam', {});
  await call(client, 'deauthenticate');
  await call(client, 'getTables: after deauthenticate');
}

async function main() {
  const client = connect({accessToken: TOKEN});
  const send = (label, ...args) => call(client, label, ...args);
  print({methods: methodsOf(client).filter(name => typeof client[name] === 'function'), missing: []});
  if (ONLY === 'files') return files(send);
  await tables(send);
  await items(send);
  await files(send);
  await groups(send);
  await others(send);
  await users(send, client);
  if (last) await endpoints(send);
  await callers(client);
}

main();
