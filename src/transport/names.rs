//! Choice of a listener's certificate by server name.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate;
use super::ordered::Ordered;

type ByName = HashMap<Box<[u8]>, Vec<Arc<CertifiedKey>>>;

/// Chooses a certificate by the server name of a client (RFC 6066 3).
///
/// An exact name has priority over a matching wildcard, in any order. Among several certificates
/// for a name, the first whose signatures the client can verify is chosen: an RSA and an ECDSA
/// certificate may share a name. A client that sends no name, or an unknown one, gets the first
/// certificate. A lookup takes two steps, however many certificates there are.
#[derive(Debug)]
pub(super) struct CertificateResolver {
    /// Certificates by whole name, in lower case.
    exact: ByName,
    /// Certificates by the part behind `*.`.
    wildcards: ByName,
    first: Option<Arc<CertifiedKey>>,
    /// Certificates that are ordered; `None`: none is.
    pub(super) ordered: Option<Arc<Ordered>>,
}

impl CertificateResolver {
    /// Creates a resolver. `schemes` lists all signature schemes of the provider.
    pub(super) fn new(
        keys: Vec<Arc<CertifiedKey>>,
        schemes: &[SignatureScheme],
    ) -> CertificateResolver {
        let mut names = CertificateResolver {
            exact: ByName::new(),
            wildcards: ByName::new(),
            first: keys.first().cloned(),
            ordered: None,
        };
        for key in keys {
            let read = key
                .cert
                .first()
                .and_then(|leaf| certificate::alternative_names(leaf))
                .unwrap_or_default();
            for host in read.hosts {
                let host = host.to_ascii_lowercase();
                let (map, name) = match host.strip_prefix(b"*.") {
                    Some(parent) => (&mut names.wildcards, parent),
                    None => (&mut names.exact, &host[..]),
                };
                let same = map.entry(name.into()).or_default();
                // A certificate with the schemes of an earlier one would never be chosen.
                if !same.iter().any(|earlier| {
                    schemes
                        .iter()
                        .all(|scheme| signs(earlier, *scheme) == signs(&key, *scheme))
                }) {
                    same.push(Arc::clone(&key));
                }
            }
        }
        names
    }

    /// Returns true if a certificate from files is one for this name, which is in lower case.
    fn has(&self, name: &str, key: &Arc<CertifiedKey>) -> bool {
        let exact = self.exact.get(name.as_bytes());
        let wildcard = name
            .split_once('.')
            .and_then(|(_, parent)| self.wildcards.get(parent.as_bytes()));
        let mut named = exact.into_iter().chain(wildcard).flatten();
        named.any(|one| Arc::ptr_eq(one, key))
    }

    /// Chooses a certificate. `fits` returns true if the client can verify signatures of a key.
    fn choose(
        &self,
        name: Option<&str>,
        fits: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Arc<CertifiedKey>> {
        let name = name
            .map(|name| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
            .unwrap_or_default();
        let exact = self.exact.get(name.as_bytes());
        let wildcard = name
            .split_once('.')
            .and_then(|(_, parent)| self.wildcards.get(parent.as_bytes()));
        let named = || exact.into_iter().chain(wildcard).flatten();
        named()
            .find(|key| fits(key))
            .or_else(|| named().next())
            .or(self.first.as_ref())
    }
}

/// Chooses a certificate where some are ordered. A name whose certificate is awaited has none, unless
/// one from files has it.
#[cold]
fn choose_ordered(
    names: &CertificateResolver,
    ordered: &Ordered,
    name: Option<&str>,
    fits: impl Fn(&CertifiedKey) -> bool,
) -> Option<Arc<CertifiedKey>> {
    let Some(name) = name else {
        return match ordered.of_address() {
            Some(found) => found,
            None => names.first.clone().or_else(|| ordered.first()),
        };
    };
    let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let chosen = || names.choose(Some(name), &fits).cloned();
    match ordered.find(&lower) {
        Some(Some(found)) => Some(found),
        Some(None) => chosen().filter(|key| names.has(&lower, key)),
        None => chosen().or_else(|| ordered.first()),
    }
}

fn signs(key: &CertifiedKey, scheme: SignatureScheme) -> bool {
    key.key.choose_scheme(&[scheme]).is_some()
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &CertifiedKey| key.key.choose_scheme(hello.signature_schemes()).is_some();
        if let Some(ordered) = self.ordered.as_deref() {
            return choose_ordered(self, ordered, hello.server_name(), fits);
        }
        self.choose(hello.server_name(), fits).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ordered::OrderedCertificate;
    use super::*;
    use core::cell::Cell;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};
    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;

    struct Maker {
        p256: KeyPair,
        p384: KeyPair,
    }

    impl Maker {
        fn new() -> Maker {
            let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
            Maker {
                p256: KeyPair::generate().expect("a key"),
                p384,
            }
        }

        fn certificate(&self, hosts: &[&str], key: &KeyPair) -> Arc<CertifiedKey> {
            let params = CertificateParams::new(
                hosts
                    .iter()
                    .map(|host| (*host).to_owned())
                    .collect::<Vec<_>>(),
            );
            let certificate = params
                .expect("names")
                .self_signed(key)
                .expect("signed")
                .der()
                .clone();
            let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            Arc::new(
                CertifiedKey::from_der(vec![certificate], key, &ring::default_provider())
                    .expect("a pair"),
            )
        }
    }

    fn names(keys: Vec<Arc<CertifiedKey>>) -> CertificateResolver {
        CertificateResolver::new(
            keys,
            &ring::default_provider()
                .signature_verification_algorithms
                .supported_schemes(),
        )
    }

    fn chosen(
        names: &CertificateResolver,
        keys: &[Arc<CertifiedKey>],
        name: Option<&str>,
    ) -> Option<usize> {
        let found = names.choose(name, |_| true)?;
        keys.iter().position(|key| Arc::ptr_eq(key, found))
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard() {
        let maker = Maker::new();
        let hosts: [&[&str]; 5] = [
            &["default.test"],
            &["*.a.test"],
            &["x.a.test"],
            &["A.test", "*.B.test"],
            &["*.c.test", "c.test"],
        ];
        let keys = hosts.map(|hosts| maker.certificate(hosts, &maker.p256));
        for order in [[0, 1, 2, 3, 4], [0, 2, 1, 4, 3]] {
            let names = names(order.iter().map(|&at| Arc::clone(&keys[at])).collect());
            for (name, expected) in [
                (Some("x.a.test"), 2),
                (Some("X.A.Test"), 2),
                (Some("x.a.test."), 2),
                (Some("y.a.test"), 1),
                (Some("a.test"), 3),
                (Some("y.b.test"), 3),
                (Some("b.test"), 0),
                (Some("z.y.b.test"), 0),
                (Some("c.test"), 4),
                (Some("unknown.test"), 0),
                (Some("test"), 0),
                (Some("*.a.test"), 1),
                (Some(""), 0),
                (Some("."), 0),
                (None, 0),
            ] {
                assert_eq!(
                    chosen(&names, &keys, name),
                    Some(expected),
                    "{name:?} {order:?}"
                );
            }
        }
    }

    #[test]
    fn the_first_that_the_client_can_verify() {
        let maker = Maker::new();
        let keys = [
            maker.certificate(&["a.test"], &maker.p384),
            maker.certificate(&["a.test"], &maker.p256),
            maker.certificate(&["*.test"], &maker.p256),
            maker.certificate(&["b.test"], &maker.p384),
        ];
        let names = names(keys.to_vec());
        let p256 = |key: &CertifiedKey| signs(key, SignatureScheme::ECDSA_NISTP256_SHA256);
        let is = |name, fits: &dyn Fn(&CertifiedKey) -> bool, at: usize| {
            Arc::ptr_eq(names.choose(Some(name), fits).expect("one"), &keys[at])
        };
        assert!(is("a.test", &|_| true, 0) && is("a.test", &p256, 1));
        assert!(
            is("b.test", &|_| true, 3) && is("b.test", &p256, 2),
            "a wildcard that can be verified"
        );
        assert!(
            is("b.test", &|_| false, 3),
            "none can: the handshake says so"
        );
    }

    /// Certificates of these names, each as PEM with its key.
    fn ordered_certificate(hosts: &[&str]) -> OrderedCertificate {
        let hosts = hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect::<Vec<_>>();
        let made = rcgen::generate_simple_self_signed(hosts).expect("made");
        let pem = [made.signing_key.serialize_pem(), made.cert.pem()].concat();
        OrderedCertificate::from_pem(pem.as_bytes()).expect("a pair")
    }

    #[test]
    fn an_ordered_certificate_is_served_once_it_is_there() {
        let maker = Maker::new();
        let file = maker.certificate(&["file.test", "*.wild.test"], &maker.p256);
        let names_of_order = ["192.0.2.1", "a.test", "x.wild.test"].map(str::to_owned);
        let ordered = Ordered::new(&names_of_order);
        let (names, empty) = (names(vec![Arc::clone(&file)]), names(Vec::new()));
        let choose = |names: &CertificateResolver, name: Option<&str>| {
            choose_ordered(names, &ordered, name, |_| true)
        };
        let is_file = |found: Option<Arc<CertifiedKey>>| {
            found.is_some_and(|found| Arc::ptr_eq(&found, &file))
        };
        // Awaited: no certificate, unless one from a file is for the name.
        assert!(choose(&names, Some("a.test")).is_none() && choose(&names, None).is_none());
        assert!(choose(&empty, Some("other.test")).is_none());
        assert!(is_file(choose(&names, Some("x.wild.test"))));
        assert!(is_file(choose(&names, Some("file.test"))));
        assert!(is_file(choose(&names, Some("other.test"))));
        assert_eq!(ordered.expiries(), []);
        let first = ordered_certificate(&["a.test"]);
        ordered.install(&["a.test".to_owned(), "z.test".to_owned()], &first);
        let is = |found: Option<Arc<CertifiedKey>>, certificate: &OrderedCertificate| {
            found.is_some_and(|found| Arc::ptr_eq(&found, certificate.certified()))
        };
        assert!(is(choose(&names, Some("A.test.")), &first));
        assert!(is(choose(&empty, Some("other.test")), &first));
        assert!(is_file(choose(&names, Some("other.test"))));
        assert!(choose(&names, None).is_none(), "the address has none yet");
        // The next one takes its place, and serves the address as well.
        let next = ordered_certificate(&["a.test", "192.0.2.1"]);
        ordered.install(&names_of_order, &next);
        for name in [Some("a.test"), Some("x.wild.test"), None] {
            assert!(is(choose(&names, name), &next), "{name:?}");
        }
        let ends = ordered.expiries();
        assert_eq!(ends.len(), 3);
        assert_eq!(ends[1], ("a.test".to_owned(), next.end));
    }

    #[test]
    fn a_broken_pair_is_refused() {
        let made =
            |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("made");
        let (one, other) = (made("a.test"), made("b.test"));
        let (key, chain) = (one.signing_key.serialize_pem(), other.cert.pem());
        for pem in [key.clone() + &chain, key, chain, String::new()] {
            assert!(
                OrderedCertificate::from_pem(pem.as_bytes()).is_err(),
                "{pem}"
            );
        }
    }

    /// The cost of a lookup is the number of keys that it asks.
    #[test]
    fn a_look_up_costs_the_same_with_a_thousand_certificates() {
        let maker = Maker::new();
        let asked = Cell::new(0);
        let look_up = |keys: &[Arc<CertifiedKey>], name| {
            let names = names(keys.to_vec());
            asked.set(0);
            names.choose(Some(name), |_| {
                asked.set(asked.get() + 1);
                false
            });
            asked.get()
        };
        let mut keys = vec![maker.certificate(&["same.test", "*.test"], &maker.p256)];
        let few = [
            look_up(&keys, "same.test"),
            look_up(&keys, "unknown.example"),
        ];
        assert_eq!(few, [2, 0]);
        for at in 1..1000 {
            keys.push(maker.certificate(
                &[&format!("h{at}.test"), "same.test", "*.test"],
                &maker.p256,
            ));
        }
        assert_eq!(
            [
                look_up(&keys, "same.test"),
                look_up(&keys, "unknown.example")
            ],
            few
        );
        assert_eq!(look_up(&keys, "h999.test"), 2);
    }
}
