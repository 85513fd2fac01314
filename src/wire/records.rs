//! Records that requests, replies, logs and snapshots share: ACL lists, Stat, StatPersisted.

use super::jute::{self, Reader, Result, Text};

/// Permission bits of an ACL entry (`ZooDefs.Perms`).
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}

/// One entry of an ACL list. Scheme and id may be null on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acl<'a> {
    pub perms: i32,
    pub scheme: Option<Text<'a>>,
    pub id: Option<Text<'a>>,
}

impl<'a> Acl<'a> {
    pub fn read(r: &mut Reader<'a>) -> Result<Acl<'a>> {
        Ok(Acl { perms: r.int()?, scheme: r.string()?, id: r.string()? })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        jute::put_int(out, self.perms);
        jute::put_string(out, self.scheme.as_deref());
        jute::put_string(out, self.id.as_deref());
    }
}

/// An ACL list as its encoded `vector<ACL>`, count included, known to parse.
///
/// Kept as bytes because that is how it is compared, interned, logged and answered; a list is looked into
/// only for a permission check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AclList<'a> {
    bytes: &'a [u8],
}

impl<'a> AclList<'a> {
    /// world:anyone with all permissions: `ZooDefs.Ids.OPEN_ACL_UNSAFE`.
    pub const OPEN: AclList<'static> =
        AclList { bytes: b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone" };
    /// world:anyone may read: the list of `/zookeeper/config`.
    pub const READ_ONLY: AclList<'static> =
        AclList { bytes: b"\0\0\0\x01\0\0\0\x01\0\0\0\x05world\0\0\0\x06anyone" };
    /// The null vector.
    pub const NULL: AclList<'static> = AclList { bytes: &[0xff; 4] };

    pub fn read(r: &mut Reader<'a>) -> Result<AclList<'a>> {
        let start = r.rest();
        if let Some(n) = r.count()? {
            for _ in 0..n {
                r.int()?;
                r.buffer()?;
                r.buffer()?;
            }
        }
        Ok(AclList { bytes: &start[..start.len() - r.rest().len()] })
    }

    /// Takes bytes that [`AclList::read`] accepted, or that [`AclList::encode`] made.
    pub fn from_encoded(bytes: &'a [u8]) -> Result<AclList<'a>> {
        let mut r = Reader::new(bytes, bytes.len());
        let list = AclList::read(&mut r)?;
        if r.is_empty() { Ok(list) } else { Err(jute::Malformed::BadValue("bytes after an ACL list")) }
    }

    /// Takes bytes that were a list's before, without parsing them again.
    pub(crate) fn from_checked(bytes: &'a [u8]) -> AclList<'a> {
        debug_assert!(AclList::from_encoded(bytes).is_ok());
        AclList { bytes }
    }

    pub fn encode(entries: &[Acl<'_>]) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + 32 * entries.len());
        jute::put_len(&mut out, entries.len());
        for entry in entries {
            entry.write(&mut out);
        }
        out
    }

    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub fn len(self) -> usize {
        let count = i32::from_be_bytes(*self.bytes.first_chunk().expect("a list has its count"));
        usize::try_from(count).unwrap_or(0)
    }

    /// True for the null vector and for the empty one; Java treats them alike.
    pub fn is_empty(self) -> bool {
        self.bytes[..4] == [0; 4] || self.bytes[0] & 0x80 != 0
    }

    pub fn entries(self) -> impl Iterator<Item = Acl<'a>> {
        let mut r = Reader::new(&self.bytes[4..], self.bytes.len());
        (0..self.len()).map(move |_| Acl::read(&mut r).expect("the list was parsed when it was made"))
    }
}

/// What a client is shown of a znode; 68 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// 2 * stored cversion - children: one up for each child made and for each child gone.
    pub cversion: i32,
    pub aversion: i32,
    /// The session of an ephemeral; 0 for every other node, also for containers and TTL nodes.
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

impl Stat {
    pub const ENCODED_LEN: usize = 68;

    pub fn read(r: &mut Reader<'_>) -> Result<Stat> {
        Ok(Stat {
            czxid: r.long()?,
            mzxid: r.long()?,
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: r.long()?,
            data_length: r.int()?,
            num_children: r.int()?,
            pzxid: r.long()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let mut b = [0; Stat::ENCODED_LEN];
        b[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        b[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        b[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        b[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        b[32..36].copy_from_slice(&self.version.to_be_bytes());
        b[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        b[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        b[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        b[52..56].copy_from_slice(&self.data_length.to_be_bytes());
        b[56..60].copy_from_slice(&self.num_children.to_be_bytes());
        b[60..68].copy_from_slice(&self.pzxid.to_be_bytes());
        out.extend_from_slice(&b);
    }
}

/// What is kept of a znode besides its data, as snapshots store it; 60 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatPersisted {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// How many children were ever created here; also the next sequence number.
    pub cversion: i32,
    pub aversion: i32,
    /// 0, a session, or an encoding of "container" or of a TTL (storage.md section 5).
    pub ephemeral_owner: i64,
    pub pzxid: i64,
}

impl StatPersisted {
    pub const ENCODED_LEN: usize = 60;

    pub fn read(r: &mut Reader<'_>) -> Result<StatPersisted> {
        Ok(StatPersisted {
            czxid: r.long()?,
            mzxid: r.long()?,
            ctime: r.long()?,
            mtime: r.long()?,
            version: r.int()?,
            cversion: r.int()?,
            aversion: r.int()?,
            ephemeral_owner: r.long()?,
            pzxid: r.long()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let mut b = [0; StatPersisted::ENCODED_LEN];
        b[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        b[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        b[16..24].copy_from_slice(&self.ctime.to_be_bytes());
        b[24..32].copy_from_slice(&self.mtime.to_be_bytes());
        b[32..36].copy_from_slice(&self.version.to_be_bytes());
        b[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        b[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        b[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        b[52..60].copy_from_slice(&self.pzxid.to_be_bytes());
        out.extend_from_slice(&b);
    }

    /// The 60 bytes of the tree digest: the same fields in another order (`DigestCalculator`).
    pub fn digest_bytes(&self) -> [u8; 60] {
        let mut b = [0; 60];
        b[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        b[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        b[16..24].copy_from_slice(&self.pzxid.to_be_bytes());
        b[24..32].copy_from_slice(&self.ctime.to_be_bytes());
        b[32..40].copy_from_slice(&self.mtime.to_be_bytes());
        b[40..44].copy_from_slice(&self.version.to_be_bytes());
        b[44..48].copy_from_slice(&self.cversion.to_be_bytes());
        b[48..52].copy_from_slice(&self.aversion.to_be_bytes());
        b[52..60].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_bytes_and_shows_its_entries() {
        let entries: Vec<_> = AclList::OPEN.entries().collect();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].perms, perms::ALL);
        assert_eq!(AclList::encode(&entries), AclList::OPEN.bytes());
        assert!(AclList::NULL.is_empty());
        assert_eq!(AclList::READ_ONLY.entries().next().unwrap().perms, perms::READ);
    }

    #[test]
    fn stats_come_back_from_their_bytes() {
        let stat = Stat {
            czxid: 1,
            mzxid: 2,
            ctime: 3,
            mtime: 4,
            version: 5,
            cversion: 6,
            aversion: 7,
            ephemeral_owner: 8,
            data_length: 9,
            num_children: 10,
            pzxid: 11,
        };
        let mut out = Vec::new();
        stat.write(&mut out);
        assert_eq!(Stat::read(&mut Reader::new(&out, 0)), Ok(stat));
        let kept = StatPersisted {
            czxid: 1,
            mzxid: 2,
            ctime: 3,
            mtime: 4,
            version: 5,
            cversion: 6,
            aversion: 7,
            ephemeral_owner: 8,
            pzxid: 9,
        };
        out.clear();
        kept.write(&mut out);
        assert_eq!(StatPersisted::read(&mut Reader::new(&out, 0)), Ok(kept));
    }
}
