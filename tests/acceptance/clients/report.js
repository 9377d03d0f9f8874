// Calls a client's methods one after the other and prints one JSON line for each:
// {"call", "outcome": "resolved" | "rejected" | "threw" | "called back" | "nothing", "value"}.
'use strict';

const print = line => process.stdout.write(JSON.stringify(line) + '\n');
const plain = error => (error instanceof Error ? `${error.name}: ${error.message}` : error);

/** The names a user of the client can call. */
function methodsOf(client) {
  const own = Object.getOwnPropertyNames(client);
  const inherited = Object.getOwnPropertyNames(Object.getPrototypeOf(client));
  return [...own, ...inherited].filter(name => name !== 'constructor' && !name.startsWith('_'));
}

/**
 * `label` is a method's name, or "name: what is particular about this call".
 * Returns what the call resolved with, or what it called back with, else an empty object.
 */
async function call(client, label, ...args) {
  const name = label.split(':')[0];
  let returned;
  try {
    returned = client[name](...args);
  } catch (error) {
    print({call: label, outcome: 'threw', value: plain(error)});
    return {};
  }
  if (returned === undefined) {
    print({call: label, outcome: 'nothing', value: null});
    return {};
  }
  try {
    const value = await returned;
    print({call: label, outcome: 'resolved', value: value === undefined ? null : value});
    return value;
  } catch (error) {
    print({call: label, outcome: 'rejected', value: plain(error)});
    return {};
  }
}

/** The same for a method that answers by its last argument, a callback. */
function callBack(client, label, ...args) {
  const name = label.split(':')[0];
  return new Promise(resolve => {
    client[name](...args, (error, value) => {
      print({call: label, outcome: 'called back', value: error ? plain(error) : value});
      resolve(value || {});
    });
  });
}

/** The thing itself, out of either version's envelope. */
const thing = answer => (answer && answer.data !== undefined ? answer.data : answer) || {};

process.on('uncaughtException', error => {
  print({call: 'uncaught', outcome: 'threw', value: plain(error)});
  process.exitCode = 1;
});

module.exports = {print, methodsOf, call, callBack, thing};
