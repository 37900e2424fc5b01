// Node's strict parser as a reader: every answer has in X-Seen what was read. usage: node.js PORT
'use strict'
const http = require('http')
const { createHash } = require('crypto')

const server = http.createServer({ insecureHTTPParser: false, maxHeaderSize: 1 << 18, keepAliveTimeout: 60000 }, (request, response) => {
  const digest = createHash('sha256')
  request.on('data', data => digest.update(data))
  request.on('end', () => {
    const seen = { method: request.method, target: request.url, body: digest.digest('hex') }
    response.writeHead(200, { 'X-Seen': Buffer.from(JSON.stringify(seen)).toString('base64'), 'Content-Length': 0 })
    response.end()
  })
})
server.httpAllowHalfOpen = true // the client ends its direction after its last request
server.listen(Number(process.argv[2]), '127.0.0.1', 4096)
