// oidc-provider as the OAuth2 server: client credentials, JWT and opaque access tokens,
// introspection, revocation. POST /control/rotate puts a new key in front of the others;
// /control/count returns the number of requests for each path.
import http from 'node:http'
import * as jose from 'jose'
import { Provider } from 'oidc-provider'

const port = Number(process.argv[2])
const issuer = `http://127.0.0.1:${port}`
const keys = []
const counts = {}
let callback

async function key (kid) {
  const { privateKey } = await jose.generateKeyPair('ES256', { extractable: true })
  return { ...(await jose.exportJWK(privateKey)), kid, use: 'sig', alg: 'ES256' }
}

async function rotate () {
  keys.unshift(await key(`key-${keys.length + 1}`))
  const client = (id, secret) => ({
    client_id: id, client_secret: secret, redirect_uris: [], response_types: [], grant_types: ['client_credentials'],
    token_endpoint_auth_method: 'client_secret_basic', id_token_signed_response_alg: 'ES256'
  })
  const provider = new Provider(issuer, {
    clients: [client('app', 'app-secret'), client('gate way', 'p:w %&+/=')],
    jwks: { keys },
    scopes: ['read', 'write'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: 'read write', audience: resource, accessTokenTTL: 600,
          accessTokenFormat: resource.endsWith('/jwt') ? 'jwt' : 'opaque', jwt: { sign: { alg: 'ES256' } }
        })
      }
    }
  })
  callback = provider.callback()
}

await rotate()
http.createServer(async (request, response) => {
  const path = request.url.split('?')[0]
  if (path === '/control/rotate') {
    await rotate()
    return response.end(keys[0].kid)
  }
  if (path === '/control/count') return response.end(JSON.stringify(counts))
  counts[path] = (counts[path] ?? 0) + 1
  callback(request, response)
}).listen(port, '127.0.0.1', () => console.log('ready'))
