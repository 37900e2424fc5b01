'use strict';
// The npm `ws` as client and server. usage: sockets.js serve PORT | sockets.js connect URL COUNT
// The server echoes. The clients send numbers, one each 20 ms, and wait for each to come back. After the first line on stdin they
// leave, and print as JSON what they saw. `open` is printed when all are open.

const WebSocket = require('ws');

const [verb, where, count] = process.argv.slice(2);
const seen = { opened: 0, cut: 0, messages: 0, wrong: 0, why: '' };
let leaving = false;

function serve(port) {
  const server = new WebSocket.Server({ host: '127.0.0.1', port: Number(port) });
  server.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary }));
    socket.on('error', () => {});  // its client sees that it is gone
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
