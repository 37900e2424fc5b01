'use strict';
// Client and server of the npm library `ws`. usage: sockets.js serve PORT | sockets.js connect URL
// COUNT. The server echoes. Each client sends a number every 20 ms, and waits for its echo. `open`
// is printed when all clients are open. After the first line on stdin the clients close, and the
// counters are printed as JSON.

const WebSocket = require('ws');

const [verb, where, count] = process.argv.slice(2);
const seen = { opened: 0, cut: 0, messages: 0, wrong: 0, why: '' };
let leaving = false;

function serve(port) {
  const server = new WebSocket.Server({ host: '127.0.0.1', port: Number(port) });
  server.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('error', () => {}); // the client reports the error
  });
}

function connect(url) {
  const socket = new WebSocket(url);
  let sent = 0;
  const next = () => { if (!leaving) { sent += 1; socket.send(`${sent}`); } };
  socket.on('open', () => {
    seen.opened += 1;
    if (seen.opened === Number(count)) console.log('open');
    next();
  });
  socket.on('message', (data) => {
    seen.messages += 1;
    if (data.toString() !== `${sent}`) { seen.wrong += 1; seen.why = `sent ${sent}, got ${data}`; }
    setTimeout(next, 20);
  });
  socket.on('error', (error) => { seen.why = error.message; });
  socket.on('close', (code) => { if (!leaving) { seen.cut += 1; seen.why = `close code ${code} ${seen.why}`; } });
}

if (verb === 'serve') {
  serve(where);
} else {
  for (let i = 0; i < Number(count); i += 1) connect(where);
  process.stdin.once('data', () => { leaving = true; console.log(JSON.stringify(seen)); process.exit(0); });
}
