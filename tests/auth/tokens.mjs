// Keys of every kind and tokens of jose: valid ones in every algorithm, and the known attacks.
// Writes keys into the given folder, and a list of tokens to stdout: { name, route, good, token }.
import { writeFileSync } from 'node:fs'
import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import * as jose from 'jose'

const folder = process.argv[2]
const now = Math.floor(Date.now() / 1000)
const SECRET = 'a secret that is known to both sides, and to nobody else: 64 bytes!!'
const b64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const claims = (more = {}) => ({ iss: 'https://idp.example', aud: 'api', sub: 'ann', scope: 'read write', iat: now, exp: now + 600, ...more })

const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA']
const pairs = {}
const set = []
for (const alg of ALGORITHMS) {
  const pair = await jose.generateKeyPair(alg, { extractable: true, ...(alg === 'EdDSA' ? { crv: 'Ed25519' } : {}) })
  pairs[alg] = pair
  writeFileSync(join(folder, `${alg}.pem`), await jose.exportSPKI(pair.publicKey))
  writeFileSync(join(folder, `${alg}.key`), await jose.exportPKCS8(pair.privateKey))
  set.push({ ...(await jose.exportJWK(pair.publicKey)), kid: alg, alg, use: 'sig' })
}
const enc = await jose.generateKeyPair('RS256', { extractable: true })
set.push({ ...(await jose.exportJWK(enc.publicKey)), kid: 'enc', use: 'enc' })
writeFileSync(join(folder, 'set.json'), JSON.stringify({ keys: set }))
writeFileSync(join(folder, 'secret'), SECRET)

const list = []
const add = (name, route, good, token) => list.push({ name, route, good, token })
const secret = new TextEncoder().encode(SECRET)
const sign = (alg, payload, header = {}, key = pairs[alg]?.privateKey ?? secret) =>
  new jose.SignJWT(payload).setProtectedHeader({ alg, ...header }).sign(key)
// Tokens that jose refuses to make are made here.
const hmac = (header, payload, key, hash = 'sha256') => {
  const text = `${b64(header)}.${b64(payload)}`
  return `${text}.${createHmac(hash, key).update(text).digest('base64url')}`
}

for (const alg of ALGORITHMS) {
  add(`${alg} with its key`, `/one/${alg}`, true, await sign(alg, claims()))
  add(`${alg} with a kid that nobody looks at`, `/one/${alg}`, true, await sign(alg, claims(), { kid: 'whatever' }))
  add(`${alg} by kid`, '/set', true, await sign(alg, claims(), { kid: alg, typ: 'JWT' }))
}
for (const alg of ['HS256', 'HS384', 'HS512']) add(`${alg} with its secret`, '/secret', true, await sign(alg, claims()))
add('several audiences', '/set', true, await sign('ES256', claims({ aud: ['web', 'api'] }), { kid: 'ES256' }))

// alg: none
for (const alg of ['none', 'None', 'NONE', 'nOnE', '']) {
  for (const signature of ['', 'AA']) {
    for (const route of ['/set', '/secret', '/one/RS256']) {
      add(`alg ${JSON.stringify(alg)}, signature ${JSON.stringify(signature)}`, route, false, `${b64({ alg, kid: 'RS256' })}.${b64(claims())}.${signature}`)
    }
  }
}
add('unsecured by jose', '/set', false, new jose.UnsecuredJWT(claims()).encode())
// A public key that is used as a secret
const spki = await jose.exportSPKI(pairs.RS256.publicKey)
const forms = { pem: spki, 'pem without its end': spki.trimEnd(), jwk: JSON.stringify(await jose.exportJWK(pairs.RS256.publicKey)), der: Buffer.from(spki.split('\n').slice(1, -1).join(''), 'base64'), nothing: '' }
for (const [form, key] of Object.entries(forms)) {
  for (const [alg, hash] of [['HS256', 'sha256'], ['HS384', 'sha384'], ['HS512', 'sha512'], ['RS256', 'sha256']]) {
    for (const route of ['/set', '/one/RS256']) {
      add(`${alg} by HMAC with the public key as ${form}`, route, false, hmac({ alg, kid: 'RS256' }, claims(), key, hash))
    }
  }
}
// kid as a path, as SQL, as a command, as a property that all objects have
for (const kid of ['../../../../dev/null', '/dev/null', "x' UNION SELECT 'AA", '$(id)', '__proto__', 'constructor', '', 'RS256\u0000', 'x'.repeat(5000)]) {
  add(`kid ${JSON.stringify(kid).slice(0, 30)}`, '/set', false, hmac({ alg: 'HS256', kid }, claims(), ''))
  add(`kid ${JSON.stringify(kid).slice(0, 30)} and another's signature`, '/set', false, await sign('RS256', claims(), { kid }, enc.privateKey))
}
add('kid is a number', '/set', false, hmac({ alg: 'HS256', kid: 7 }, claims(), ''))
add('kid is a list', '/set', false, hmac({ alg: 'HS256', kid: ['RS256'] }, claims(), ''))
add('signed by a key for encryption', '/set', false, await sign('RS256', claims(), { kid: 'enc' }, enc.privateKey))
add('the key of another kid', '/set', false, await sign('RS256', claims(), { kid: 'RS384' }))
add('RS256 where the key is for PS256', '/set', false, await sign('RS256', claims(), { kid: 'PS256' }, enc.privateKey))
// Keys inside the token
const own = await jose.exportJWK(enc.publicKey)
for (const kid of [undefined, 'RS256', 'mine']) {
  const named = kid === undefined ? {} : { kid }
  add(`jwk in the header, kid ${kid}`, '/set', false, await sign('RS256', claims(), { jwk: own, ...named }, enc.privateKey))
  add(`jku in the header, kid ${kid}`, '/set', false, await sign('RS256', claims(), { jku: 'http://127.0.0.1:1/jwks', ...named }, enc.privateKey))
  add(`x5u in the header, kid ${kid}`, '/set', false, await sign('RS256', claims(), { x5u: 'http://127.0.0.1:1/cert', ...named }, enc.privateKey))
  add(`x5c in the header, kid ${kid}`, '/set', false, await sign('RS256', claims(), { x5c: ['AAAA'], ...named }, enc.privateKey))
}
add('jku that nobody follows, good signature', '/set', true, await sign('ES256', claims(), { kid: 'ES256', jku: 'http://127.0.0.1:1/' }))
// Critical headers that the gateway does not know
add('crit', '/secret', false, hmac({ alg: 'HS256', crit: ['x'], x: 1 }, claims(), SECRET))
add('crit with exp', '/secret', false, hmac({ alg: 'HS256', crit: ['exp'], exp: now + 600 }, claims(), SECRET))
add('b64 false', '/secret', false, hmac({ alg: 'HS256', b64: false, crit: ['b64'] }, claims(), SECRET))
add('alg twice', '/secret', false, hmac('{"alg":"none","alg":"HS256"}', claims(), SECRET))
// Time, issuer, audience
const late = (more) => sign('HS256', claims(more))
add('expired', '/secret', false, await late({ exp: now - 10 }))
add('expired long ago', '/secret', false, await late({ exp: 1 }))
add('nbf in the future', '/secret', false, await late({ nbf: now + 300 }))
add('iat in the future', '/secret', false, await late({ iat: now + 300 }))
add('exp is text', '/secret', false, hmac({ alg: 'HS256' }, claims({ exp: `${now + 600}` }), SECRET))
add('exp is null', '/secret', false, hmac({ alg: 'HS256' }, claims({ exp: null }), SECRET))
add('exp is missing', '/secret', false, await late({ exp: undefined }))
add('exp is true', '/secret', false, hmac({ alg: 'HS256' }, claims({ exp: true }), SECRET))
add('another issuer', '/secret', false, await late({ iss: 'https://evil.example' }))
add('no issuer', '/secret', false, await late({ iss: undefined }))
add('issuer with a slash', '/secret', false, await late({ iss: 'https://idp.example/' }))
add('issuers in a list', '/secret', false, hmac({ alg: 'HS256' }, claims({ iss: ['https://idp.example'] }), SECRET))
add('another audience', '/secret', false, await late({ aud: 'other' }))
add('no audience', '/secret', false, await late({ aud: undefined }))
add('audience is a number in a list', '/secret', false, hmac({ alg: 'HS256' }, claims({ aud: ['api', 1] }), SECRET))
add('claims twice', '/secret', false, hmac({ alg: 'HS256' }, `{"exp":1,"iss":"https://idp.example","aud":"api","exp":${now + 600}}`, SECRET))
add('claims twice, one escaped', '/secret', false, hmac({ alg: 'HS256' }, `{"exp":${now + 600},"iss":"https://idp.example","aud":"api","\\u0061ud":"api"}`, SECRET))
add('claims are a list', '/secret', false, hmac({ alg: 'HS256' }, '[]', SECRET))
add('claims nested without end', '/secret', false, hmac({ alg: 'HS256' }, '{"a":' + '['.repeat(3000), SECRET))
// Bytes
const good = await sign('ES256', claims(), { kid: 'ES256' })
const [head, body, signature] = good.split('.')
for (const [name, token] of Object.entries({
  'truncated by one': good.slice(0, -1),
  'truncated by half': good.slice(0, good.length / 2),
  'without signature': `${head}.${body}.`,
  'without signature and dot': `${head}.${body}`,
  'a dot more': `${good}.`,
  'a part more': `${good}.AAAA`,
  'padded': `${good}=`,
  'padded inside': `${head}=.${body}.${signature}`,
  'with plus and slash': good.replace(/-/g, '+').replace(/_/g, '/') + '+/',
  'two tokens': `${good},${good}`,
  'another body': `${head}.${b64(claims({ sub: 'root' }))}.${signature}`,
  'no header': `.${body}.${signature}`,
  'header of another': `${b64({ alg: 'ES384', kid: 'ES384' })}.${body}.${signature}`,
  'zeros for a signature': `${head}.${body}.${Buffer.alloc(64).toString('base64url')}`,
  'ones for a signature': `${head}.${body}.${Buffer.alloc(64, 255).toString('base64url')}`,
  'the signature in DER': `${head}.${body}.MEUCIQDQ7vyNUEVX9gJ3QAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA`,
  'an encrypted one': await new jose.EncryptJWT(claims()).setProtectedHeader({ alg: 'RSA-OAEP', enc: 'A256GCM', kid: 'RS256' }).encrypt(await jose.importSPKI(spki, 'RSA-OAEP')),
  'huge': `${head}.${'A'.repeat(14000)}.${signature}`,
  'nothing': '',
  'one dot': '.',
  'two dots': '..',
})) add(name, '/set', false, token)

process.stdout.write(JSON.stringify(list))
