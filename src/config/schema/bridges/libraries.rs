//! Words of http-proxy-middleware, express and its libraries, and what each means here.

use super::{Bridge, bridge, renamed};

/// The first that fits is taken.
pub(super) static BRIDGES: &[Bridge] = &[
    // http-proxy-middleware.
    bridge(
        "changeOrigin",
        "*",
        "the target's host is sent by default, as with changeOrigin: true; for the client's Host write \"preserveHost\": true",
    ),
    bridge(
        "pathRewrite rewrite replacePath addPrefix prependPath urlPattern upstreamPath downstreamPathTemplate",
        "*",
        "the route is removed from the path, and the path of \"target\" is put before the rest; \"stripPrefix\": false keeps the route",
    ),
    bridge(
        "secure rejectUnauthorized insecureSkipVerify sslVerify proxySslVerify tlsInsecureSkipVerify proxySslTrustedCertificate proxySslName",
        "*",
        "certificates of https targets are always verified; name your own authority with \"tls\": { \"ca\": \"ca.pem\" }",
    ),
    bridge(
        "ws websocket websockets upgrade",
        "*",
        "WebSockets are passed on without a key; remove it",
    ),
    bridge(
        "xfwd proxyHeaders forwardedHeaders",
        "*",
        "X-Forwarded-For, -Host and -Proto are always sent; remove it",
    ),
    bridge(
        "proxyTimeout timeout readTimeout proxyReadTimeout timeoutServer requestTimeout responseTimeout timeoutMs",
        "*",
        "write \"timeouts\": { \"response\": \"15s\" }",
    ),
    bridge(
        "autoRewrite hostRewrite protocolRewrite proxyRedirect",
        "*",
        "write \"rewriteLocation\": true",
    ),
    bridge(
        "cookiePathRewrite cookieDomainRewrite proxyCookiePath",
        "*",
        "write \"rewriteCookiePath\": true; a Domain stays",
    ),
    bridge(
        "logger morgan log logFormat errorLog accessLogs logging logProvider verbose debug level",
        "*",
        "the form of the access log is \"accessLog\", the level of messages \"logLevel\"",
    ),
    // express-rate-limit, and others that limit.
    renamed(
        "windowMs period per interval duration",
        "rateLimit",
        "window",
        "the time is \"window\", as in \"window\": \"60s\"",
    ),
    renamed(
        "max limit average rate maxRequests second minute hour day count",
        "rateLimit",
        "requests",
        "the number is \"requests\" and its time \"window\", as in \"requests\": 20, \"window\": \"60s\"",
    ),
    renamed(
        "keyGenerator keyBy zone limitBy sourceCriterion",
        "rateLimit",
        "key",
        "what makes a client is \"key\", as in \"key\": \"consumer\"",
    ),
    renamed(
        "skip whitelist allowlist",
        "rateLimit",
        "exempt",
        "the networks are \"exempt\", as in \"exempt\": [\"10.0.0.0/8\"]",
    ),
    bridge(
        "redis policy",
        "rateLimit",
        "write \"store\": \"shared\" here, and \"stores\": { \"shared\": { \"url\": \"redis://127.0.0.1:6379\" } } at the top level",
    ),
    bridge(
        "delay nodelay",
        "rateLimit",
        "no request is delayed; \"algorithm\": \"bucket\" with \"burst\" lets that many through at once",
    ),
    bridge(
        "standardHeaders",
        "rateLimit",
        "write \"headers\": \"draft\"",
    ),
    bridge("legacyHeaders", "rateLimit", "write \"headers\": \"x\""),
    bridge(
        "message statusCode",
        "rateLimit",
        "the answer is 429 with JSON and Retry-After",
    ),
    bridge(
        "rateLimiter rateLimiting throttle limitReq limitReqZone stickTable",
        "*",
        "write \"rateLimit\": { \"requests\": 20, \"window\": \"60s\" }",
    ),
    // express, helmet, cors.
    bridge(
        "addHeaders setHeaders removeHeaders addHeader proxySetHeader proxyHideHeader headerUp headerDown httpRequest httpResponse",
        "*",
        "write \"requestHeaders\" (to the target) or \"responseHeaders\" (to the client) with \"set\", \"add\" and \"remove\"",
    ),
    bridge("helmet headers", "", "write \"securityHeaders\""),
    renamed(
        "origin allowedOrigins allowOrigin allowOrigins accessControlAllowOriginList",
        "cors",
        "origins",
        "the list is \"origins\"",
    ),
    renamed(
        "allowedHeaders allowHeaders",
        "cors",
        "headers",
        "the list is \"headers\"",
    ),
    renamed(
        "exposedHeaders exposeHeader",
        "cors",
        "exposeHeaders",
        "the list is \"exposeHeaders\"",
    ),
    renamed(
        "allowedMethods allowMethods",
        "cors",
        "methods",
        "the list is \"methods\"",
    ),
    bridge(
        "trustProxy realIp setRealIpFrom realIpHeader",
        "*",
        "write \"trustedProxies\": [\"10.0.0.0/8\"]",
    ),
];
