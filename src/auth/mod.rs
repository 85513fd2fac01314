//! Who a connection is, and what an ACL lets it do.
//!
//! A connection collects [`Identity`]s: its address when it connects, more with each `auth` request. An ACL
//! list is matched against them ([`Auth::allows`]), and rewritten when a client sets one ([`Auth::fix_acl`]).
//! Source: client-protocol.md section 12; Java's `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`
//! and the providers in `server.auth`.

mod digest;
mod ip;

pub use digest::DigestAlgorithm;

use std::borrow::Cow;
use std::net::IpAddr;

use crate::ids::HashSet;
use crate::wire::error::ErrorCode;
use crate::wire::records::{Acl, AclList};

/// One proven name of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub scheme: Cow<'static, str>,
    pub id: String,
}

impl Identity {
    fn new(scheme: &'static str, id: impl Into<String>) -> Identity {
        Identity { scheme: Cow::Borrowed(scheme), id: id.into() }
    }

    /// What everybody has who connects over TCP: scheme `ip`, the address as Java prints it.
    pub fn ip(address: IpAddr) -> Identity {
        Identity::new("ip", ip::text(address))
    }

    /// How `whoAmI` and the audit log call this identity: for digest the part before the first colon.
    pub fn user(&self) -> &str {
        match &*self.scheme {
            "digest" => self.id.split(':').next().unwrap_or_default(),
            "super" => "",
            _ => &self.id,
        }
    }
}

/// The settings that authentication and ACL checks depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// `skipACL=yes`: every check passes.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.enabled=false` takes the digest scheme away.
    pub digest_disabled: bool,
    pub digest_algorithm: DigestAlgorithm,
    /// `super:<base64>`; whoever authenticates to this digest passes every check.
    pub super_digest: Option<String>,
    /// A SASL provider is configured: ids of that scheme may stand in ACLs.
    pub sasl_acls: bool,
    /// The same for `x509`.
    pub x509_acls: bool,
    /// `enforce.auth.schemes` if `enforce.auth.enabled`: one of these is needed to do anything.
    pub enforced_schemes: Vec<String>,
}

/// Entries that the `auth` entries of one list may add. More would not fit in a transaction.
const EXPANDED_MAX: usize = 50_000;

/// An `auth` request was refused; the connection is told -115 and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthRefused;

impl Auth {
    /// The identities that an `auth` request proves.
    pub fn authenticate(
        &self,
        scheme: Option<&str>,
        credential: Option<&[u8]>,
    ) -> Result<Vec<Identity>, AuthRefused> {
        match scheme {
            // The address was noted when the connection was made; the request only succeeds.
            Some("ip") => Ok(Vec::new()),
            Some("digest") if !self.digest_disabled => {
                let credential = String::from_utf8_lossy(credential.ok_or(AuthRefused)?);
                let id = digest::generate(self.digest_algorithm, &credential);
                let mut proven = Vec::with_capacity(2);
                if self.super_digest.as_deref() == Some(&id) {
                    proven.push(Identity::new("super", ""));
                }
                proven.push(Identity::new("digest", id));
                Ok(proven)
            }
            _ => Err(AuthRefused),
        }
    }

    /// True if this connection may do anything at all under `enforce.auth`.
    pub fn meets_enforcement(&self, identities: &[Identity]) -> bool {
        self.enforced_schemes.is_empty()
            || identities
                .iter()
                .any(|identity| self.enforced_schemes.iter().any(|scheme| *scheme == identity.scheme))
    }

    /// Whether `list` gives one of the `wanted` permissions to one of `identities`.
    pub fn allows(&self, list: AclList<'_>, wanted: i32, identities: &[Identity]) -> bool {
        self.skip_acl
            || list.is_empty()
            || identities.iter().any(|identity| identity.scheme == "super")
            || list.entries().any(|acl| acl.perms & wanted != 0 && self.matches(&acl, identities))
    }

    fn matches(&self, acl: &Acl<'_>, identities: &[Identity]) -> bool {
        let (Some(scheme), Some(id)) = (acl.scheme.as_deref(), acl.id.as_deref()) else { return false };
        if scheme == "world" {
            return id == "anyone";
        }
        self.is_registered(scheme)
            && identities.iter().filter(|identity| identity.scheme == scheme).any(|identity| match scheme {
                "ip" => ip::matches(&identity.id, id),
                _ => identity.id == id,
            })
    }

    fn is_registered(&self, scheme: &str) -> bool {
        match scheme {
            "ip" => true,
            "digest" => !self.digest_disabled,
            "sasl" => self.sasl_acls,
            "x509" => self.x509_acls,
            _ => false,
        }
    }

    /// The list as it will be stored: duplicates gone, `auth` entries replaced by the caller's identities.
    ///
    /// Errors: `InvalidAcl`, and `MarshallingError` for the null ids that make Java's providers throw.
    pub fn fix_acl<'a>(
        &self,
        list: AclList<'a>,
        identities: &[Identity],
    ) -> Result<Cow<'a, [u8]>, ErrorCode> {
        if list == AclList::OPEN {
            return Ok(Cow::Borrowed(list.bytes()));
        }
        if list.is_empty() {
            return Err(ErrorCode::InvalidAcl);
        }
        // A frame has room for 80,000 entries: too many to compare each with each, or to stand for as many
        // identities each.
        let mut seen = HashSet::default();
        let mut fixed: Vec<Acl<'_>> = Vec::with_capacity(list.len());
        for acl in list.entries().filter(|acl| seen.insert(acl.clone())) {
            if fixed.len() > list.len() + EXPANDED_MAX {
                return Err(ErrorCode::MarshallingError);
            }
            match (acl.scheme.as_deref(), acl.id.as_deref()) {
                (Some("auth"), _) => {
                    let before = fixed.len();
                    fixed.extend(
                        identities
                            .iter()
                            .filter(|identity| matches!(&*identity.scheme, "digest" | "sasl" | "x509"))
                            .map(|identity| Acl {
                                perms: acl.perms,
                                scheme: Some(Cow::Owned(identity.scheme.to_string())),
                                id: Some(Cow::Owned(identity.id.clone())),
                            }),
                    );
                    if fixed.len() == before {
                        return Err(ErrorCode::InvalidAcl);
                    }
                }
                (Some("world" | "ip" | "digest"), None) => return Err(ErrorCode::MarshallingError),
                (Some(scheme), Some(id)) if self.is_valid(scheme, id) => fixed.push(acl),
                _ => return Err(ErrorCode::InvalidAcl),
            }
        }
        Ok(Cow::Owned(AclList::encode(&fixed)))
    }

    fn is_valid(&self, scheme: &str, id: &str) -> bool {
        match scheme {
            "world" => id == "anyone",
            "ip" => ip::is_valid(id),
            "digest" => !self.digest_disabled && digest::is_valid(id),
            "sasl" => self.sasl_acls && !id.is_empty(),
            "x509" => self.x509_acls && id.contains('='),
            _ => false,
        }
    }
}

/// The list as it is shown to somebody without ADMIN: digests lose everything from the first colon on
/// (`FinalRequestProcessor.handleGetACLRequest`).
pub fn mask_digests(list: AclList<'_>) -> Vec<u8> {
    let masked: Vec<Acl<'_>> = list
        .entries()
        .map(|mut acl| {
            if acl.scheme.as_deref() == Some("digest")
                && let Some(id) = &acl.id
                && let Some((user, _)) = id.split_once(':')
            {
                acl.id = Some(Cow::Owned(format!("{user}:x")));
            }
            acl
        })
        .collect();
    AclList::encode(&masked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::records::perms;

    fn acl<'a>(perms: i32, scheme: Option<&'a str>, id: Option<&'a str>) -> Acl<'a> {
        Acl { perms, scheme: scheme.map(Cow::Borrowed), id: id.map(Cow::Borrowed) }
    }

    fn fixed(auth: &Auth, entries: &[Acl<'_>], identities: &[Identity]) -> Result<Vec<u8>, ErrorCode> {
        let bytes = AclList::encode(entries);
        auth.fix_acl(AclList::from_encoded(&bytes).unwrap(), identities).map(Cow::into_owned)
    }

    #[test]
    fn a_digest_credential_becomes_javas_digest() {
        let proven = Auth::default().authenticate(Some("digest"), Some(b"u:p")).unwrap();
        assert_eq!(proven, [Identity::new("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=")]);
    }

    #[test]
    fn the_super_digest_opens_everything() {
        let auth =
            Auth { super_digest: Some("super:xQJmxLMiHGwaqBvst5y6rkB6HQs=".into()), ..Auth::default() };
        let boss = auth.authenticate(Some("digest"), Some(b"super:admin")).unwrap();
        let nobody = AclList::encode(&[acl(perms::ALL, Some("digest"), Some("a:b"))]);
        let nobody = AclList::from_encoded(&nobody).unwrap();
        assert!(auth.allows(nobody, perms::READ, &boss));
        let other = auth.authenticate(Some("digest"), Some(b"super:wrong")).unwrap();
        assert!(!auth.allows(nobody, perms::READ, &other));
    }

    #[test]
    fn unknown_schemes_and_missing_credentials_are_refused() {
        let auth = Auth::default();
        for (scheme, credential) in
            [(None, None), (Some("world"), None), (Some("sasl"), Some(&b"x"[..])), (Some("digest"), None)]
        {
            assert_eq!(auth.authenticate(scheme, credential), Err(AuthRefused));
        }
        assert_eq!(auth.authenticate(Some("ip"), None), Ok(vec![]));
    }

    #[test]
    fn lists_are_checked_entry_by_entry() {
        let auth = Auth::default();
        let me = [Identity::ip("127.0.0.1".parse().unwrap())];
        assert_eq!(fixed(&auth, &[], &me), Err(ErrorCode::InvalidAcl));
        assert_eq!(fixed(&auth, &[acl(31, None, Some("x"))], &me), Err(ErrorCode::InvalidAcl));
        assert_eq!(fixed(&auth, &[acl(31, Some("world"), Some("x"))], &me), Err(ErrorCode::InvalidAcl));
        assert_eq!(fixed(&auth, &[acl(31, Some("world"), None)], &me), Err(ErrorCode::MarshallingError));
        assert_eq!(fixed(&auth, &[acl(31, Some("auth"), None)], &me), Err(ErrorCode::InvalidAcl));
        assert_eq!(fixed(&auth, &[acl(31, Some("sasl"), Some("bob"))], &me), Err(ErrorCode::InvalidAcl));
        let twice = [acl(31, Some("world"), Some("anyone")), acl(31, Some("world"), Some("anyone"))];
        assert_eq!(fixed(&auth, &twice, &me).as_deref(), Ok(AclList::OPEN.bytes()));
    }

    #[test]
    fn an_auth_entry_becomes_the_callers_digests() {
        let auth = Auth::default();
        let me = auth.authenticate(Some("digest"), Some(b"u:p")).unwrap();
        let bytes = fixed(&auth, &[acl(31, Some("auth"), None)], &me).unwrap();
        let entry = AclList::from_encoded(&bytes).unwrap().entries().next().unwrap();
        assert_eq!((entry.scheme.as_deref(), entry.id.as_deref()), (Some("digest"), Some(&*me[0].id)));
    }

    #[test]
    fn auth_entries_do_not_multiply_without_bound() {
        let auth = Auth::default();
        let me: Vec<Identity> = (0..1000).map(|n| Identity::new("digest", format!("u{n}:x"))).collect();
        let entries = |n| (0..n).map(|perms| acl(perms, Some("auth"), None)).collect::<Vec<_>>();
        assert!(fixed(&auth, &entries(10), &me).is_ok());
        assert_eq!(fixed(&auth, &entries(60_000), &me), Err(ErrorCode::MarshallingError));
    }

    #[test]
    fn digests_are_masked_from_the_first_colon_on() {
        let bytes =
            AclList::encode(&[acl(31, Some("digest"), Some("a:b:c")), acl(31, Some("ip"), Some("::1"))]);
        let masked = mask_digests(AclList::from_encoded(&bytes).unwrap());
        let ids: Vec<_> =
            AclList::from_encoded(&masked).unwrap().entries().map(|acl| acl.id.unwrap()).collect();
        assert_eq!(ids, ["a:x", "::1"]);
    }
}
