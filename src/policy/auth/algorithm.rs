//! The signature algorithms of RFC 7518 3.1, RFC 8037 3.1 and RFC 9864 2.2. There is no `none`: what has no name here cannot be meant.

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
            /// Every one.
            pub const ALL: &[Algorithm] = &[$(Algorithm::$variant,)*];

            /// Its `alg`.
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
    /// Names that stand for an algorithm beside its own: what RFC 8037 calls `EdDSA`, and only ever meant with a key on
    /// Ed25519, RFC 9864 2.2 calls `Ed25519`.
    pub const ALIASES: &[(&str, Algorithm)] = &[("Ed25519", Algorithm::EdDsa)];

    /// The algorithm of this name, whose case counts (RFC 7515 4.1.1).
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

    /// Whether both sides share a secret.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AlgorithmSet(u16);

impl AlgorithmSet {
    /// With HMAC: what a secret can be used for.
    pub const SECRET: AlgorithmSet =
        AlgorithmSet::of(&[Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512]);
    /// What an RSA key can be used for.
    pub const RSA: AlgorithmSet = AlgorithmSet::of(&[
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
    ]);
    /// What a key on P-256 can be used for.
    pub const P256: AlgorithmSet = AlgorithmSet::of(&[Algorithm::Es256]);
    /// What a key on P-384 can be used for.
    pub const P384: AlgorithmSet = AlgorithmSet::of(&[Algorithm::Es384]);
    /// What an Ed25519 key can be used for.
    pub const ED25519: AlgorithmSet = AlgorithmSet::of(&[Algorithm::EdDsa]);
    /// Algorithms that have keys whose signatures take long to verify.
    pub const COSTLY: AlgorithmSet = AlgorithmSet(AlgorithmSet::RSA.0 | AlgorithmSet::P384.0);
    /// Everything with a public key.
    pub const PUBLIC: AlgorithmSet = AlgorithmSet(
        AlgorithmSet::RSA.0 | AlgorithmSet::P256.0 | AlgorithmSet::P384.0 | AlgorithmSet::ED25519.0,
    );

    /// These.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "const code has no iterators; the loop is bounded by the length"
    )]
    pub const fn of(algorithms: &[Algorithm]) -> AlgorithmSet {
        let mut set = 0;
        let mut at = 0;
        while at < algorithms.len() {
            set |= 1 << algorithms[at] as u8;
            at += 1;
        }
        AlgorithmSet(set)
    }

    /// Whether it is inside.
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u8) != 0
    }

    /// Those in both.
    pub const fn and(self, other: AlgorithmSet) -> AlgorithmSet {
        AlgorithmSet(self.0 & other.0)
    }

    /// Whether none is inside.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those inside.
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
