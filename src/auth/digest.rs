//! The digest scheme: `user:base64(hash("user:password"))`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512};

/// `DigestAuthenticationProvider.digestAlg`: the hash over "user:password".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl DigestAlgorithm {
    /// The algorithm under its name in Java's `MessageDigest` ("SHA1", "SHA-256", …), in any case.
    pub fn from_name(name: &str) -> Option<DigestAlgorithm> {
        match name.to_ascii_uppercase().replace('-', "").as_str() {
            "SHA" | "SHA1" => Some(DigestAlgorithm::Sha1),
            "SHA224" => Some(DigestAlgorithm::Sha224),
            "SHA256" => Some(DigestAlgorithm::Sha256),
            "SHA384" => Some(DigestAlgorithm::Sha384),
            "SHA512" => Some(DigestAlgorithm::Sha512),
            _ => None,
        }
    }
}

/// The id that a credential proves. Without a colon the whole text is user and credential alike, as in Java.
pub fn generate(algorithm: DigestAlgorithm, credential: &str) -> String {
    let user = credential.split(':').next().unwrap_or_default();
    let bytes = credential.as_bytes();
    let hash = match algorithm {
        DigestAlgorithm::Sha1 => STANDARD.encode(Sha1::digest(bytes)),
        DigestAlgorithm::Sha224 => STANDARD.encode(Sha224::digest(bytes)),
        DigestAlgorithm::Sha256 => STANDARD.encode(Sha256::digest(bytes)),
        DigestAlgorithm::Sha384 => STANDARD.encode(Sha384::digest(bytes)),
        DigestAlgorithm::Sha512 => STANDARD.encode(Sha512::digest(bytes)),
    };
    format!("{user}:{hash}")
}

/// Whether an ACL may hold this id: exactly two parts by Java's `split(":")`, which drops trailing empty ones.
pub fn is_valid(id: &str) -> bool {
    let mut parts: Vec<&str> = id.split(':').collect();
    while parts.last() == Some(&"") {
        parts.pop();
    }
    parts.len() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_judged_as_java_splits_them() {
        for good in ["a:b", ":b", "a:b:"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["ab", "a:", "a::", "a:b:c", ""] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn a_credential_without_a_colon_is_its_own_user() {
        assert!(generate(DigestAlgorithm::Sha1, "abc").starts_with("abc:"));
        assert_eq!(DigestAlgorithm::from_name("sha-256"), Some(DigestAlgorithm::Sha256));
    }
}
