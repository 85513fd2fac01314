//! Server lines: what they decide, and how they are printed.

use super::*;

#[test]
fn servers_decide_between_standalone_and_distributed() {
    let one = Fixture::new().with("myid", "1");
    let Loaded { config, warnings, .. } = one.load("server.1=a:1:2").expect("good");
    assert!(!config.is_distributed());
    assert_eq!(warnings[0].text, "only one server line; running standalone, without it");
    let ensemble_of_one = "standaloneEnabled=false\ninitLimit=1\nsyncLimit=1\nserver.1=a:1:2";
    assert!(one.load(ensemble_of_one).expect("good").config.is_distributed());

    let members = |n: usize| {
        let lines: String = (1..=n).map(|id| format!("server.{id}=a{id}:1:2\n")).collect();
        one.warnings(&format!("initLimit=1\nsyncLimit=1\n{lines}"))
    };
    assert!(members(2)[0].contains("no server failure will be tolerated"));
    assert_eq!(members(3), [""; 0]);
    assert_eq!(members(4), ["zoo.cfg: 4 participants tolerate no more failures than 3; use an odd number"]);
    let copied = one.warnings("initLimit=1\nsyncLimit=1\nserver.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:3");
    assert_eq!(copied, ["zoo.cfg: servers 1 and 2 have the same election port, a:2; correct one"]);
}

#[test]
fn read_only_mode_that_would_refuse_every_session_is_warned_of() {
    let fixture = Fixture::new().with("myid", "1");
    let warnings = |more: &str| fixture.warnings(&format!("{THREE}readonlymode.enabled=true\n{more}"));
    let [warning] = &warnings("")[..] else { panic!("one warning") };
    assert!(
        warning.starts_with("zoo.cfg:7: readonlymode.enabled: without localSessionsEnabled=true"),
        "{warning}"
    );
    assert_eq!(warnings("localSessionsEnabled=true"), [""; 0]);
}

#[test]
fn the_server_line_decides_the_role() {
    let fixture = Fixture::new().with("myid", "4");
    let lines = format!("{THREE}server.4=d:2888:3888:Observer\n");
    let Loaded { config, warnings, .. } = fixture.load(&format!("{lines}peerType=observer")).expect("good");
    assert_eq!((config.ensemble.role, &warnings[..]), (Role::Observer, &[][..]));
    let Loaded { config, warnings, .. } = fixture.load(&lines).expect("good");
    assert_eq!(config.ensemble.role, Role::Observer);
    assert_eq!(
        warnings[0].text,
        "peerType says participant, but the server lines say observer, and they count"
    );
}

#[test]
fn a_membership_is_printed_as_java_prints_it() {
    let fixture = Fixture::new().with("myid", "2");
    let text = "initLimit=1\nsyncLimit=1\nmultiAddress.enabled=true\n\
        server.10=j:1:2:OBSERVER\nserver.2=[fe80::1]:1:2;[::1]:2181\n\
        server.1=z:1:2|a:3:4;2181\nserver.3=c:1:2;;h:9\n\
        group.1=1:2\ngroup.2=3\nweight.3=0\nversion=10a";
    let membership = fixture.load(text).expect("good").config.ensemble.membership;
    assert_eq!(
        membership.to_string(),
        "server.1=a:3:4|z:1:2:participant;0.0.0.0:2181\n\
        server.2=[fe80::1]:1:2:participant;[::1]:2181\n\
        server.3=c:1:2:participant;;h:9\n\
        server.10=j:1:2:observer\n\
        group.1=1:2\n\
        group.2=3\n\
        weight.1=1\n\
        weight.2=1\n\
        weight.3=0\n\
        version=10a"
    );
}

#[test]
fn the_client_address_of_zoo_cfg_is_no_part_of_the_membership() {
    let membership = Fixture::new().with("myid", "1").load(THREE).expect("good").config.ensemble.membership;
    assert_eq!(
        membership.to_string(),
        "server.1=a:2888:3888:participant\nserver.2=b:2888:3888:participant\n\
        server.3=c:2888:3888:participant\n\
        version=0"
    );
}
