//! Signature algorithms of RFC 7518 3.1, RFC 8037 3.1 and RFC 9864 2.2. `none` is not among them,
//! so no token can select it.

macro_rules! algorithms {
    ($($variant:ident = $name:literal,)*) => {
        /// A signature algorithm.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "each variant is the algorithm of that name")]
        pub enum Algorithm {
            $($variant,)*
        }

        impl Algorithm {
            /// All algorithms.
            pub const ALL: &[Algorithm] = &[$(Algorithm::$variant,)*];

            /// Returns the algorithm's `alg` value.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Algorithm::$variant => $name,)*
                }
            }
        }
    };
}

algorithms! {
    Hs256 = "HS256",
    Hs384 = "HS384",
    Hs512 = "HS512",
    Rs256 = "RS256",
    Rs384 = "RS384",
    Rs512 = "RS512",
    Ps256 = "PS256",
    Ps384 = "PS384",
    Ps512 = "PS512",
    Es256 = "ES256",
    Es384 = "ES384",
    EdDsa = "EdDSA",
}

impl Algorithm {
    /// Alternative names of algorithms. RFC 9864 2.2 calls `Ed25519` what RFC 8037 calls `EdDSA`,
    /// which is only used with Ed25519 keys here.
    pub const ALIASES: &[(&str, Algorithm)] = &[("Ed25519", Algorithm::EdDsa)];

    /// Returns the algorithm with this name. Names are case-sensitive (RFC 7515 4.1.1).
    pub fn named(name: &str) -> Option<Algorithm> {
        let own = Algorithm::ALL
            .iter()
            .copied()
            .find(|algorithm| algorithm.name() == name);
        own.or_else(|| {
            Algorithm::ALIASES
                .iter()
                .find(|(alias, _)| *alias == name)
                .map(|(_, algorithm)| *algorithm)
        })
    }

    /// Returns true if both sides share a secret.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AlgorithmSet(u16);

impl AlgorithmSet {
    /// Algorithms for a shared secret (HMAC).
    pub const SECRET: AlgorithmSet =
        AlgorithmSet::new(&[Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512]);
    /// Algorithms for an RSA key.
    pub const RSA: AlgorithmSet = AlgorithmSet::new(&[
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
    ]);
    /// Algorithms for a key on P-256.
    pub const P256: AlgorithmSet = AlgorithmSet::new(&[Algorithm::Es256]);
    /// Algorithms for a key on P-384.
    pub const P384: AlgorithmSet = AlgorithmSet::new(&[Algorithm::Es384]);
    /// Algorithms for an Ed25519 key.
    pub const ED25519: AlgorithmSet = AlgorithmSet::new(&[Algorithm::EdDsa]);
    /// Algorithms with keys whose signatures are slow to verify.
    pub const COSTLY: AlgorithmSet = AlgorithmSet(AlgorithmSet::RSA.0 | AlgorithmSet::P384.0);
    /// All algorithms with a public key.
    pub const PUBLIC: AlgorithmSet = AlgorithmSet(
        AlgorithmSet::RSA.0 | AlgorithmSet::P256.0 | AlgorithmSet::P384.0 | AlgorithmSet::ED25519.0,
    );

    /// Creates the set of these algorithms.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "const code has no iterators; the loop is bounded by the length"
    )]
    pub const fn new(algorithms: &[Algorithm]) -> AlgorithmSet {
        let mut set = 0;
        let mut at = 0;
        while at < algorithms.len() {
            set |= 1 << algorithms[at] as u8;
            at += 1;
        }
        AlgorithmSet(set)
    }

    /// Returns true if the set contains the algorithm.
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u8) != 0
    }

    /// Returns the algorithms that are in both sets.
    pub const fn and(self, other: AlgorithmSet) -> AlgorithmSet {
        AlgorithmSet(self.0 & other.0)
    }

    /// Returns true if the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Iterates over the algorithms of the set.
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL
            .iter()
            .copied()
            .filter(move |&algorithm| self.contains(algorithm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for &algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
            assert_eq!(Algorithm::named(&algorithm.name().to_lowercase()), None);
            assert_eq!(
                AlgorithmSet::SECRET.contains(algorithm),
                algorithm.is_symmetric()
            );
            assert_ne!(
                AlgorithmSet::PUBLIC.contains(algorithm),
                algorithm.is_symmetric()
            );
        }
        for unknown in [
            "none", "None", "", "HS1", "RS1", "ES256K", "ES512", "RSA-OAEP", "dir", "HS256 ",
            "ed25519", "Ed448",
        ] {
            assert_eq!(Algorithm::named(unknown), None, "{unknown}");
        }
        assert_eq!(Algorithm::named("Ed25519"), Some(Algorithm::EdDsa));
    }

    #[test]
    fn sets() {
        let families = [
            AlgorithmSet::SECRET,
            AlgorithmSet::RSA,
            AlgorithmSet::P256,
            AlgorithmSet::P384,
            AlgorithmSet::ED25519,
        ];
        for (at, family) in families.iter().enumerate() {
            assert!(!family.is_empty());
            assert!(
                families
                    .iter()
                    .enumerate()
                    .all(|(other, set)| other == at || set.and(*family).is_empty())
            );
        }
        assert_eq!(
            families
                .iter()
                .map(|family| family.iter().count())
                .sum::<usize>(),
            Algorithm::ALL.len()
        );
    }
}
