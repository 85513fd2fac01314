//! The digest of a node (`DigestCalculator`, version 2); the tree's is the sum modulo 2^64 of its nodes'.
//!
//! A node's digest is a CRC-32 over path, data and 60 bytes of stat. The CRC of path and data is kept with the
//! node, so that a changed stat costs a CRC over 60 bytes and not over the data again.

use crc32fast::Hasher;

use crate::wire::records::StatPersisted;

/// CRC-32 of path and data; the root's path is "".
pub fn prefix_crc(path: &str, data: Option<&[u8]>) -> u32 {
    let mut crc = Hasher::new();
    crc.update(path.as_bytes());
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

/// What the node adds to the tree's digest, if its path counts ([`super::digest_counts`]).
pub fn node_digest(prefix_crc: u32, stat: &StatPersisted) -> u64 {
    let mut crc = Hasher::new_with_initial(prefix_crc);
    crc.update(&stat.digest_bytes());
    u64::from(crc.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continued_crc_is_the_crc_of_the_whole() {
        let stat =
            StatPersisted { czxid: 1, mtime: 2, pzxid: 3, ephemeral_owner: -1, ..StatPersisted::default() };
        let whole = [&b"/adata"[..], &stat.digest_bytes()].concat();
        assert_eq!(node_digest(prefix_crc("/a", Some(b"data")), &stat), u64::from(crc32fast::hash(&whole)));
    }
}
