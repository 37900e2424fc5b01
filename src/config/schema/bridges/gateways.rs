//! Words of other gateways, and what each means here.

use super::{Bridge, bridge, renamed};

/// The first that fits is taken.
pub(super) static BRIDGES: &[Bridge] = &[
    // nginx, HAProxy, Caddy, Traefik, Kong, Envoy.
    bridge(
        "port host bind address addr server entryPoints frontend hostname listenAddr",
        "",
        "the address is \"listen\", as in \"listen\": \"0.0.0.0:8080\"",
    ),
    bridge(
        "port",
        "services[]",
        "it is a part of the URL in \"target\", as in \"http://127.0.0.1:9000\"",
    ),
    bridge(
        "ssl https tls certificate certificates cert key sslCertificate sslCertificateKey",
        "",
        "certificates belong to a listener: \"listen\": [{ \"address\": \"0.0.0.0:443\", \"tls\": { \"certificates\": [{ \"cert\": \"site.pem\", \
         \"key\": \"site.key\" }] } }]",
    ),
    bridge(
        "ssl https certificates cert key sslCertificate sslCertificateKey crt crtList",
        "listen[]",
        "write \"tls\": { \"certificates\": [{ \"cert\": \"site.pem\", \"key\": \"site.key\" }] }",
    ),
    bridge(
        "cert key certFile keyFile",
        "listen[].tls",
        "write \"certificates\": [{ \"cert\": \"site.pem\", \"key\": \"site.key\" }]",
    ),
    renamed(
        "certFile certificate fullchain",
        "listen[].tls.certificates[]",
        "cert",
        "the file is \"cert\"",
    ),
    renamed(
        "keyFile privateKey",
        "listen[].tls.certificates[]",
        "key",
        "the file is \"key\"",
    ),
    renamed(
        "locations location routes routers proxies proxy endpoints apis backends upstreams clusters mappings",
        "",
        "services",
        "the list is \"services\", as in \"services\": [{ \"route\": \"/users\", \"target\": \"http://127.0.0.1:9000\" }]",
    ),
    renamed(
        "path prefix pathPrefix location context uri paths rule from handle handlePath basePath upstreamPathTemplate",
        "services[]",
        "route",
        "the path prefix is \"route\", as in \"route\": \"/users\"",
    ),
    renamed(
        "url upstream upstreams backend backends proxyPass to servers service destination reverseProxy loadBalancer dial downstreamHostAndPorts clusterId replicas instances nodes",
        "services[]",
        "target",
        "the URL is \"target\", several are \"targets\"",
    ),
    renamed(
        "serverName domain domains serverNames host hostname vhost",
        "services[]",
        "hosts",
        "the names are \"hosts\", as in \"hosts\": [\"api.example.com\"]",
    ),
    renamed(
        "method verbs limitExcept",
        "services[]",
        "methods",
        "the list is \"methods\", as in \"methods\": [\"GET\"]",
    ),
    bridge(
        "stripPath stripPathPrefix stripUri",
        "*",
        "write \"stripPrefix\"",
    ),
    bridge(
        "passHost passHostHeader preserveHostHeader",
        "*",
        "write \"preserveHost\"",
    ),
    bridge(
        "clientMaxBodySize maxBodySize bodyLimit requestBodyLimit",
        "*",
        "write \"limits\": { \"bodyBytes\": \"10MB\" }",
    ),
    bridge(
        "middlewares middleware plugins filters",
        "*",
        "policies are keys of a service: \"rateLimit\", \"auth\", \"timeouts\"",
    ),
    bridge(
        "name id description comment title tags version formatVersion order",
        "*",
        "for a note write a comment: // text",
    ),
    bridge(
        "enabled disabled enable",
        "*",
        "what is written is on; to turn it off write false in place of the object, or remove it",
    ),
    renamed(
        "lb loadBalancing algorithm strategy policy",
        "services[]",
        "balance",
        "write \"balance\": \"round-robin\"",
    ),
    renamed(
        "jwksUrl jwksUri jwksEndpoint keysUrl",
        "jwt",
        "jwks",
        "the URL is \"jwks\"",
    ),
    renamed("aud audiences", "jwt", "audience", "write \"audience\""),
    renamed("iss issuers", "jwt", "issuer", "write \"issuer\""),
    renamed(
        "alg algorithm algs",
        "jwt",
        "algorithms",
        "the list is \"algorithms\", as in \"algorithms\": [\"RS256\"]",
    ),
    renamed(
        "inter every frequency",
        "services[].healthCheck",
        "interval",
        "the time is \"interval\"",
    ),
    renamed(
        "uri url endpoint httpPath",
        "services[].healthCheck",
        "path",
        "what is asked for is \"path\", as in \"path\": \"/health\"",
    ),
    renamed(
        "expectedStatus expectedStatuses expectedCodes statusCode expect",
        "services[].healthCheck",
        "status",
        "write \"status\": \"200\", or a range such as \"200-399\"",
    ),
    renamed(
        "healthyThreshold successThreshold passes",
        "services[].healthCheck",
        "rise",
        "the number is \"rise\"",
    ),
    renamed(
        "unhealthyThreshold failureThreshold fails",
        "services[].healthCheck",
        "fall",
        "the number is \"fall\"",
    ),
    renamed(
        "maxconn maxConns maxConnections",
        "services[].targets[]",
        "maxInFlight",
        "the number is \"maxInFlight\"",
    ),
    renamed(
        "port bind host",
        "listen[]",
        "address",
        "host and port are \"address\", as in \"address\": \"0.0.0.0:8080\"",
    ),
    renamed(
        "acceptProxy",
        "listen[]",
        "proxyProtocol",
        "the networks of the senders are \"proxyProtocol\", as in \"proxyProtocol\": [\"10.0.0.0/8\"]",
    ),
    renamed(
        "clockTolerance clockSkew",
        "jwt",
        "leeway",
        "the time is \"leeway\", as in \"leeway\": \"30s\"",
    ),
    bridge(
        "discovery oidc openidConfiguration wellKnown",
        "jwt",
        "write the URL of the key set: \"jwks\"; the discovery document has it as jwks_uri",
    ),
    renamed(
        "server address host target uri dial",
        "services[].targets[]",
        "url",
        "the URL is \"url\", as in \"url\": \"http://10.0.0.1:8080\"",
    ),
    bridge(
        "healthcheck health check healthUri healthUrl healthPath httpchk optionHttpchk httpCheck healthInterval healthTimeout",
        "services[]",
        "write \"healthCheck\": { \"path\": \"/health\" }",
    ),
    bridge(
        "keepaliveTimeout idleTimeout connectTimeout proxyConnectTimeout timeoutConnect connectionTimeout clientHeaderTimeout clientBodyTimeout sendTimeout proxySendTimeout writeTimeout timeoutClient",
        "*",
        "write \"timeouts\": { \"connect\": \"5s\", \"head\": \"15s\", \"body\": \"60s\", \"idle\": \"60s\", \"keepAlive\": \"72s\" }",
    ),
    bridge(
        "http tcp stream events global defaults apps option mode globalConfiguration",
        "",
        "the file is one object with \"listen\" and \"services\", without sections",
    ),
    bridge(
        "include import",
        "",
        "write \"services\": \"services.d/*.json\"",
    ),
    bridge(
        "workers workerProcesses threads nbthread cluster",
        "*",
        "the number of processes is \"workers\" at the top level, as in \"workers\": \"auto\"",
    ),
    bridge(
        "workerConnections workerRlimitNofile maxconn",
        "*",
        "write \"limits\": { \"connections\": 4096 } at the top level",
    ),
    bridge(
        "limitConn limitConnZone maxConnPerIp",
        "*",
        "write \"limits\": { \"connectionsPerClient\": 20 } at the top level",
    ),
    bridge(
        "largeClientHeaderBuffers clientHeaderBufferSize",
        "*",
        "write \"limits\": { \"headBytes\": \"16KB\", \"requestLine\": \"8KB\" } at the top level",
    ),
    bridge(
        "satisfy",
        "*",
        "\"allow\", \"deny\" and \"auth\" must all let a request in, as with satisfy all; remove it",
    ),
    bridge(
        "handleErrors errorfile errorDocument proxyInterceptErrors errorPage notFound",
        "*",
        "write \"errorPages\"; they stand in place of the gateway's own errors, and never of an upstream's",
    ),
    bridge(
        "authRequest forwardAuth authBasic basicAuth authJwt apiKey apiKeys jwt digestAuth keyAuth oauth authentication authorization authenticated protected private guard session consumer consumers jwtSecret",
        "*",
        "write a provider into \"auth\" at the top level, such as { \"sso\": { \"type\": \"forward\", \"url\": \"http://127.0.0.1:4180/auth\" } } \
         (or \"type\": \"apiKey\", \"basic\", \"jwt\"), and its name into the service: \"auth\": \"sso\"",
    ),
    bridge(
        "return redir redirectTo redirectRegex",
        "*",
        "write \"redirect\": { \"to\": \"/new\" }, or \"respond\": { \"status\": 200, \"body\": \"ok\" }, in a service without a target",
    ),
    bridge(
        "proxyNextUpstream proxyNextUpstreamTries retry lbRetries lbTryDuration redispatch failover",
        "*",
        "write \"retries\": 1",
    ),
    bridge(
        "maxFails failTimeout outlierDetection circuitBreaker failDuration unhealthyStatus observe errorLimit",
        "*",
        "write \"passiveHealth\": { \"failures\": 5, \"eject\": \"30s\" } in the service",
    ),
    bridge(
        "ipHash leastConn random lbPolicy",
        "*",
        "write \"balance\": \"ip-hash\", \"least-connections\" or \"random-two\"",
    ),
    bridge(
        "resolver proxyBuffering proxyRequestBuffering proxyHttpVersion serverTokens sendfile tcpNodelay tcpNopush proxyBuffers proxyBufferSize keepalive keepaliveRequests flushInterval transport sslCiphers ciphers cipherSuites sslSessionCache sslDhparam alpn backlog defaultType charset user pid optionForwardfor proxySslServerName bodyParser tracing",
        "*",
        "this needs no key; remove it",
    ),
    bridge(
        "gzip brotli encode compression proxyCache root alias tryFiles static fileServer autoindex expires fastcgiPass http2 http3 cache index grpcPass uwsgiPass phpFastcgi subFilter mirror mirroring limitRate swagger",
        "*",
        "compression, caching, files, FastCGI, gRPC, mirrors, HTTP/2 and HTTP/3 are not in tollgate; leave them to the service, or to a server in front",
    ),
    bridge(
        "acl useBackend defaultBackend predicates pathFilter regexPriority priority map rules router",
        "*",
        "a service takes requests by \"route\" (a prefix; the longest wins), \"hosts\", \"methods\" and \"match\"",
    ),
    bridge(
        "whitelist blacklist allowlist denylist ipAllowList ipWhiteList ipFilter ipRestriction",
        "*",
        "the networks are \"allow\" and \"deny\", as in \"allow\": [\"10.0.0.0/8\"]",
    ),
    bridge(
        "stats api dashboard ping metrics stubStatus prometheus health status",
        "",
        "write \"admin\": \"127.0.0.1:5001\" for a status page, metrics and /live and /ready",
    ),
    bridge(
        "letsencrypt autocert certResolver certificatesResolvers autoHttps",
        "*",
        "write \"tls\": { \"acme\": { \"names\": [\"api.example.com\"] } } in the listener, and \"acme\": { \"agree\": true, \"state\": \"/var/lib/tollgate\" } \
         at the top level",
    ),
    bridge(
        "sslProtocols protocols tlsVersion",
        "*",
        "write \"minVersion\": \"1.2\" into \"tls\" of the listener",
    ),
    bridge(
        "sslClientCertificate sslVerifyClient mtls verifyClient",
        "*",
        "write \"clientCa\": \"clients.pem\" into \"tls\" of the listener",
    ),
    bridge(
        "redirectScheme sslRedirect httpsRedirect forceSsl",
        "*",
        "write \"redirectToHttps\": true into the listener without TLS",
    ),
    bridge(
        "onProxyReq onProxyRes onError errorHandler selfHandleResponse handler transforms if lua extraConfig",
        "*",
        "no code runs in tollgate: \"requestHeaders\" and \"responseHeaders\" change headers, a provider of \"type\": \"forward\" decides about requests",
    ),
    bridge(
        "cookie stickySession sessionAffinity",
        "services[]",
        "write \"sticky\": {}; \"sticky\": { \"cookie\": \"SRV\" } names the cookie",
    ),
    bridge(
        "public anonymous",
        "services[]",
        "for no authentication write \"auth\": false",
    ),
    bridge(
        "inFlightReq maxConcurrent",
        "services[]",
        "write \"limits\": { \"inFlight\": 100 }",
    ),
    bridge(
        "down disabled",
        "services[].targets[]",
        "remove the target, as long as it is down",
    ),
];
