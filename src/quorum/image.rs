//! The image of a leader's state that follows SNAP: sessions, ACLs and nodes as in a snapshot file, then a signature.
//!
//! It has neither a length nor checksums and may be larger than memory likes, so it is taken record by record as its
//! bytes arrive. Whoever serves it writes the same records (`Server::snapshot_begin`, `snapshot_slice`), then [`END`].
//!
//! # Invariants
//!
//! 1. No length is believed before its bytes are there, and no record may be longer than [`ImageReader`]'s limit.
//! 2. Bytes behind the signature are not taken: they are the next packets.

use crate::ids::SessionId;
use crate::storage::{BadNode, SnapshotSink};
use crate::wire::jute::{self, Malformed, Reader};
use crate::wire::quorum::Misbehaved;
use crate::wire::records::{AclList, StatPersisted};

/// What an image ends with: the path "/", which is no node's, and the signature "BenWasHere".
pub const END: [u8; 19] = *b"\0\0\0\x01/\0\0\0\x0aBenWasHere";

/// What follows the nodes' end mark.
const SIGNATURE: &str = "BenWasHere";

/// An ACL list has no limit of its own; this one is ample, and bounds what an unfinished record may hold.
const RECORD_MAX: usize = 64 << 20;

/// Takes an image off a stream.
#[derive(Debug)]
pub struct ImageReader {
    field_max: usize,
    part: Part,
}

/// What comes next, and how many of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    SessionCount,
    Sessions(u32),
    AclCount,
    Acls(u32),
    Nodes,
    Signature,
    Done,
}

/// What became of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes that are done with; the rest is to be shown again with what follows it.
    pub consumed: usize,
    /// The image is complete.
    pub done: bool,
}

impl ImageReader {
    /// `field_max` bounds single strings and buffers, in bytes.
    pub fn new(field_max: usize) -> ImageReader {
        ImageReader { field_max, part: Part::SessionCount }
    }

    /// Takes whole records off the front of `bytes`.
    ///
    /// # Errors
    /// Bytes that are no image: the tree in the making is worth nothing.
    pub fn feed<S: SnapshotSink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<Fed, Misbehaved> {
        let mut r = Reader::new(bytes, self.field_max);
        let mut consumed = 0;
        while self.part != Part::Done {
            match self.record(&mut r, sink) {
                Ok(next) => {
                    self.part = next;
                    consumed = bytes.len() - r.rest().len();
                }
                Err(Malformed::Truncated) if bytes.len() - consumed <= RECORD_MAX.max(3 * self.field_max) => {
                    break;
                }
                Err(malformed) => return Err(Misbehaved::Malformed { packet: "image", malformed }),
            }
        }
        Ok(Fed { consumed, done: self.part == Part::Done })
    }

    /// Takes one record and says what comes behind it.
    fn record<S: SnapshotSink>(&self, r: &mut Reader<'_>, sink: &mut S) -> jute::Result<Part> {
        // A count that is not positive is none, as in Java's loops.
        let count = |r: &mut Reader<'_>| Ok(u32::try_from(r.int()?).unwrap_or(0));
        Ok(match self.part {
            Part::SessionCount => match count(r)? {
                0 => Part::AclCount,
                n => Part::Sessions(n),
            },
            Part::Sessions(n) => {
                let (id, timeout_ms) = (r.long()?, r.int()?);
                sink.session(SessionId(id), timeout_ms);
                if n == 1 { Part::AclCount } else { Part::Sessions(n - 1) }
            }
            Part::AclCount => match count(r)? {
                0 => Part::Nodes,
                n => Part::Acls(n),
            },
            Part::Acls(n) => {
                let id = r.long()?;
                let list = AclList::read(r)?;
                if list.bytes() == AclList::NULL.bytes() {
                    return Err(Malformed::BadValue("null ACL list"));
                }
                sink.acl(id, list);
                if n == 1 { Part::Nodes } else { Part::Acls(n - 1) }
            }
            Part::Nodes => {
                let path = r.string()?.ok_or(Malformed::BadValue("null path"))?;
                if path == "/" {
                    return Ok(Part::Signature);
                }
                let (data, acl_id, stat) = (r.buffer()?, r.long()?, StatPersisted::read(r)?);
                sink.node(&path, data, acl_id, &stat).map_err(|BadNode(why)| Malformed::BadValue(why))?;
                Part::Nodes
            }
            Part::Signature => match r.string()?.as_deref() {
                Some(SIGNATURE) => Part::Done,
                _ => return Err(Malformed::BadValue("signature of an image")),
            },
            Part::Done => Part::Done,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use proptest::prelude::*;

    use super::*;
    use crate::ids::Zxid;
    use crate::tree::{Tree, TreeLoader, TreeOptions};
    use crate::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader};

    const OPTIONS: TreeOptions = TreeOptions { digest: true, extended_types: true, emulate_353_ttl: false };

    struct Sink {
        loader: TreeLoader,
        sessions: Vec<(SessionId, i32)>,
    }

    impl Sink {
        fn new() -> Sink {
            Sink { loader: TreeLoader::new(OPTIONS), sessions: Vec::new() }
        }
    }

    impl SnapshotSink for Sink {
        fn begin(&mut self) {}

        fn session(&mut self, id: SessionId, timeout_ms: i32) {
            self.sessions.push((id, timeout_ms));
        }

        fn acl(&mut self, id: i64, list: AclList<'_>) {
            self.loader.acl(id, list);
        }

        fn node(
            &mut self,
            path: &str,
            data: Option<&[u8]>,
            acl_id: i64,
            stat: &StatPersisted,
        ) -> Result<(), BadNode> {
            self.loader.node(path, data, acl_id, stat).map_err(|_| BadNode("a node without its parent"))
        }
    }

    fn tree() -> Tree {
        let mut tree = Tree::new(OPTIONS);
        for n in 1..60i64 {
            let parent = if n % 7 == 0 && n > 7 { "/n7/" } else { "/" };
            let (path, data) = (format!("{parent}n{n}"), vec![b'x'; n as usize * 3]);
            let acl = if n % 3 == 0 { AclList::READ_ONLY } else { AclList::OPEN };
            let kind = CreateKind::Create { ephemeral: false };
            let create = CreateTxn { path: path.into(), data: Some(&data), acl, kind, parent_cversion: -1 };
            let txn = Txn::Create(create);
            let header =
                TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(n), time: n, kind: txn.kind() };
            tree.apply(&header, &txn, &mut ());
        }
        tree
    }

    fn image(tree: &mut Tree) -> Vec<u8> {
        image_of(tree, &[(SessionId(5), 4000), (SessionId(6), 4000)])
    }

    fn image_of(tree: &mut Tree, sessions: &[(SessionId, i32)]) -> Vec<u8> {
        let mut out = Vec::new();
        jute::put_len(&mut out, sessions.len());
        for (id, timeout_ms) in sessions {
            jute::put_long(&mut out, id.0);
            jute::put_int(&mut out, *timeout_ms);
        }
        tree.write_acl_map(&mut out);
        let cursor = tree.snapshot_begin();
        while !tree.snapshot_slice(cursor, &mut out, 100) {}
        out.extend_from_slice(&END);
        out
    }

    /// Feeds `bytes` in pieces of `len` bytes; how many were taken, and the tree if the image was complete.
    fn read(bytes: &[u8], len: usize) -> Result<(usize, Option<Tree>), Misbehaved> {
        let (mut reader, mut sink) = (ImageReader::new(1 << 20), Sink::new());
        let (mut at, mut end) = (0, 0);
        while end < bytes.len() {
            end = (end + len).min(bytes.len());
            let fed = reader.feed(&bytes[at..end], &mut sink)?;
            at += fed.consumed;
            if fed.done {
                assert_eq!(sink.sessions, [(SessionId(5), 4000), (SessionId(6), 4000)]);
                return Ok((at, Some(sink.loader.finish(Zxid(59)))));
            }
        }
        Ok((at, None))
    }

    #[test]
    fn an_image_is_read_whatever_pieces_it_comes_in_and_what_follows_is_left() {
        let mut tree = tree();
        let image = image(&mut tree);
        let mut stream = image.clone();
        stream.extend_from_slice(b"\0\0\0\x0aNEWLEADER");
        for len in [1, 2, 3, 7, 64, 1000, stream.len()] {
            let (taken, loaded) = read(&stream, len).expect("a good image");
            assert_eq!(taken, image.len());
            assert_eq!(loaded.expect("it is complete").digest(), tree.digest());
        }
    }

    #[test]
    fn an_image_that_ends_early_is_not_done() {
        let mut tree = tree();
        let image = image(&mut tree);
        for len in [0, 3, 40, image.len() / 2, image.len() - 1] {
            assert!(matches!(read(&image[..len], 100), Ok((_, None))), "cut at {len}");
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let mut tree = tree();
        let good = image(&mut tree);
        let mut signature = good.clone();
        *signature.last_mut().expect("not empty") = b'!';
        assert!(read(&signature, 100).is_err());
        let mut length = good;
        let end = length.len() - END.len();
        length.truncate(end);
        length.extend_from_slice(&i32::MAX.to_be_bytes());
        assert!(read(&length, 100).is_err(), "a path of 2 GiB");
        let mut orphan = vec![0; 8];
        jute::put_string(&mut orphan, Some("/a/b"));
        orphan.extend_from_slice(&[0xff; 4]);
        orphan.extend_from_slice(&[0; 100]);
        assert!(read(&orphan, 1000).is_err(), "a node without its parent");
    }

    /// Every image that a Java leader sent, as it was recorded.
    fn recorded() -> Vec<serde_json::Value> {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/quorum");
        let mut images = Vec::new();
        for entry in std::fs::read_dir(dir).expect("the captures are there") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|ext| ext != "gz") {
                continue;
            }
            let file = std::fs::File::open(path).expect("a capture");
            for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
                let line: serde_json::Value =
                    serde_json::from_str(&line.expect("text")).expect("a line is JSON");
                if line["kind"] == "SNAPSHOT" {
                    images.push(line);
                }
            }
        }
        images
    }

    fn bytes(line: &serde_json::Value) -> Vec<u8> {
        let hex = line["hex"].as_str().expect("hex");
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits");
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    #[test]
    fn the_images_of_java_leaders_are_read_and_written_alike() {
        let images = recorded();
        assert!(images.len() > 5, "the captures have images");
        for line in images {
            let image = bytes(&line);
            let (mut reader, mut sink) = (ImageReader::new(1 << 20), Sink::new());
            let mut at = 0;
            for end in 1..=image.len() {
                at += reader.feed(&image[at..end], &mut sink).expect("a good image").consumed;
            }
            assert_eq!(at, image.len());
            let fields = &line["fields"];
            assert_eq!(sink.sessions.len(), fields["sessions"].as_array().map_or(0, Vec::len));
            let mut tree = sink.loader.finish(Zxid(0));
            let nodes = fields["nodes"].as_array().expect("nodes");
            assert_eq!(tree.node_count(), nodes.len());
            for node in nodes {
                let path = node["path"].as_str().expect("a path");
                let found = tree.find(if path.is_empty() { "/" } else { path }).expect(path);
                let stat = tree.stat(found);
                let hex = |name: &str| {
                    let zxid = match name {
                        "czxid" => stat.czxid,
                        "mzxid" => stat.mzxid,
                        _ => stat.pzxid,
                    };
                    format!("{zxid:#x}")
                };
                for name in ["czxid", "mzxid", "pzxid"] {
                    assert_eq!(node[name], hex(name).as_str(), "{name} of {path}");
                }
                assert_eq!(node["version"], stat.version, "{path}");
                assert_eq!(node["mtime"], stat.mtime, "{path}");
            }
            assert_eq!(image_of(&mut tree, &sink.sessions), image, "what is written is what was read");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_tree_comes_through_in_any_pieces(
            ops in proptest::collection::vec((0u8..3, 0usize..12, proptest::collection::vec(any::<u8>(), 0..200)), 0..60),
            pieces in proptest::collection::vec(1usize..300, 1..20),
        ) {
            let mut tree = Tree::new(OPTIONS);
            for (n, (op, place, data)) in ops.iter().enumerate() {
                // A chain of parents, of which each may be missing: then it is an error that changes nothing.
                let path: String = (0..=place % 4).map(|depth| format!("/n{}", place / 4 + depth)).collect();
                let txn = match op {
                    0 | 1 => Txn::Create(CreateTxn {
                        path: path.into(),
                        data: (data.len() > 3).then_some(data),
                        acl: if data.len() % 2 == 0 { AclList::READ_ONLY } else { AclList::OPEN },
                        kind: CreateKind::Create { ephemeral: data.len() % 5 == 0 },
                        parent_cversion: -1,
                    }),
                    _ => Txn::Delete { path: path.into(), container: false },
                };
                let zxid = Zxid(n as i64 + 1);
                let header =
                    TxnHeader { session: SessionId(5), cxid: 1, zxid, time: 1, kind: txn.kind() };
                tree.apply(&header, &txn, &mut ());
            }
            let image = image(&mut tree);
            let (mut reader, mut sink) = (ImageReader::new(1 << 20), Sink::new());
            let (mut at, mut end, mut done) = (0, 0, false);
            for piece in pieces.iter().cycle() {
                end = (end + piece).min(image.len());
                let fed = reader.feed(&image[at..end], &mut sink).expect("a good image");
                at += fed.consumed;
                done = fed.done;
                if end == image.len() {
                    break;
                }
                prop_assert!(!done);
            }
            prop_assert!(done && at == image.len());
            let loaded = sink.loader.finish(tree.last_zxid());
            prop_assert_eq!(loaded.node_count(), tree.node_count());
            prop_assert_eq!(loaded.digest(), tree.digest());
        }

        #[test]
        fn no_bytes_make_the_reader_panic_or_take_more_than_there_are(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
            keep in 0usize..1000,
        ) {
            let mut start = image(&mut tree());
            start.truncate(keep);
            start.append(&mut bytes);
            if let Ok((taken, _)) = read(&start, 97) {
                prop_assert!(taken <= start.len());
            }
        }
    }
}
