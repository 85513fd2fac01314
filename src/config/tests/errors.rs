//! Each situation in which Java refuses a configuration, with its exit code, and the few in which only Serval
//! does.

use super::*;

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let fixture = Fixture::new();
    let missing = Config::load(&fixture.dir.path().join("no.cfg"), &[]).expect_err("missing");
    assert_eq!(fixture.shorten(&missing.to_string()), "no.cfg: file is missing; give the path of a zoo.cfg");
    assert_eq!(missing.exit_code(), 2);
    let directory = Config::load(fixture.dir.path(), &[]).expect_err("a directory");
    assert!(matches!(directory.problem, Problem::FileUnreadable { .. }), "{directory}");
    let big = Fixture::new().with("big", vec![b'\n'; FILE_BYTES_MAX as usize + 1]);
    let error = Config::load(&big.dir.path().join("big"), &[]).expect_err("too large");
    assert_eq!(error.problem, Problem::FileTooLarge { bytes_max: FILE_BYTES_MAX });
    refused("a=\\u12", "zoo.cfg:2: malformed \\u escape");
}

#[test]
fn what_must_be_set_is_asked_for() {
    let missing = |text: &str| {
        let error = Fixture::new().load_bare(text).expect_err(text);
        assert_eq!(error.exit_code(), 2);
        let message = error.to_string();
        message.split_once("zoo.cfg: ").expect("names the file").1.to_owned()
    };
    assert_eq!(missing("clientPort=1"), "dataDir: is not set; add a line like dataDir=/var/lib/zookeeper");
    let empty = Fixture::new().load_bare("dataDir=\nclientPort=1").expect_err("an empty path");
    assert!(empty.to_string().contains("zoo.cfg:1: dataDir: is not set"), "{empty}");
    let misspelt = Fixture::new().load_bare("dataDir=/d\nclientport=1").expect_err("a typo").to_string();
    let points_at_it =
        "zoo.cfg:2: clientport: unknown key, and clientPort, which is needed, is not set; write";
    assert!(misspelt.contains(points_at_it), "{misspelt}");
    assert_eq!(
        missing("dataDir=/d"),
        "clientPort: is not set, so no client could connect; add clientPort=2181"
    );
}

#[test]
fn numbers_and_booleans_are_checked() {
    refused("tickTime=0", "zoo.cfg:2: tickTime: \"0\" is not positive; write");
    refused("tickTime=-5", "zoo.cfg:2: tickTime: \"-5\" is not positive; write");
    refused("tickTime=", "zoo.cfg:2: tickTime: \"\" is not a whole number; write");
    refused("tickTime=0x10", "zoo.cfg:2: tickTime: \"0x10\" is not a whole number; write");
    refused(
        "maxClientCnxns=5 # five",
        "zoo.cfg:2: maxClientCnxns: \"5 # five\" is not a whole number; write",
    );
    refused("tickTime=2147483648", "zoo.cfg:2: tickTime: \"2147483648\" is too large; the largest");
    refused("reconfigEnabled=yes", "zoo.cfg:2: reconfigEnabled: \"yes\" is neither true nor false; choose");
    for key in
        ["initLimit", "syncLimit", "clientPortListenBacklog", "observerMasterPort", "minSessionTimeout"]
    {
        refused(&format!("{key}=x"), &format!("zoo.cfg:2: {key}: \"x\" is not a whole number; write"));
    }
    for key in ["localSessionsEnabled", "standaloneEnabled", "standaloneEnabled", "quorumListenOnAllIPs"] {
        refused(&format!("{key}=1"), &format!("zoo.cfg:2: {key}: \"1\" is neither true nor false; choose"));
    }
}

#[test]
fn ports_are_checked() {
    refused("secureClientPort=65536", "zoo.cfg:2: secureClientPort: \"65536\" is not a port; write");
    refused("secureClientPort=-1", "zoo.cfg:2: secureClientPort: \"-1\" is not a port; write");
    refused(
        "metricsProvider.httpPort=99999999999",
        "zoo.cfg:2: metricsProvider.httpPort: \"99999999999\" is not a port",
    );
    refused("metricsProvider.httpPort=x", "zoo.cfg:2: metricsProvider.httpPort: \"x\" is not a whole number");
    refused("observerMasterPort=65536", "zoo.cfg:2: observerMasterPort: \"65536\" is not a port; write");
    let any = Fixture::new().load_bare("dataDir=/d\nclientPort=0").expect("0 is any port").config;
    assert_eq!(any.client_port.address, Some(HostPort::on_all_addresses(0)));
}

#[test]
fn an_election_algorithm_or_role_that_does_not_exist_is_refused() {
    refused("electionAlg=0", "zoo.cfg:2: electionAlg: \"0\" is no election algorithm; only 3 is supported");
    refused("peerType=boss", "zoo.cfg:2: peerType: unrecognised peer type \"boss\"; write");
    refused("server.1=a:1:2:boss", "zoo.cfg:2: server.1: unrecognised peer type \"boss\"; write");
}

#[test]
fn an_address_without_its_port_is_refused() {
    let error = |text: &str| Fixture::new().load_bare(text).expect_err(text).to_string();
    let plain = error("dataDir=/d\nclientPortAddress=::1");
    assert!(plain.contains("zoo.cfg:2: clientPortAddress: is set but clientPort is not set; add"), "{plain}");
    let secure = error("dataDir=/d\nclientPort=1\nsecureClientPortAddress=h");
    assert!(
        secure.contains("zoo.cfg:3: secureClientPortAddress: is set but secureClientPort is not"),
        "{secure}"
    );
    let only = error("dataDir=/d\nsecureClientPort=2281");
    assert!(only.contains("zoo.cfg:2: secureClientPort: is set without clientPort, and TLS"), "{only}");
}

#[test]
fn session_timeouts_must_not_cross() {
    refused(
        "minSessionTimeout=10\nmaxSessionTimeout=9",
        "zoo.cfg:2: minSessionTimeout: minSessionTimeout must not be larger than maxSessionTimeout, but they \
         are 10 ms and 9 ms",
    );
    refused("maxSessionTimeout=9", "zoo.cfg:2: maxSessionTimeout: minSessionTimeout must not be larger");
}

#[test]
fn a_metrics_provider_that_does_not_exist_is_refused() {
    refused(
        "metricsProvider.className=org.example.Metrics",
        "zoo.cfg:2: metricsProvider.className: metrics provider class \"org.example.Metrics\" was not found",
    );
    let null = "metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider";
    assert_eq!(config(null).metrics_port, None);
}

#[test]
fn settings_that_would_lock_everybody_out_are_refused() {
    refused(
        "sessionRequireClientSASLAuth=true",
        "zoo.cfg:2: sessionRequireClientSASLAuth: authentication scheme \"sasl\"",
    );
    refused(
        "enforce.auth.enabled=true",
        "zoo.cfg:2: enforce.auth.enabled: is true, but enforce.auth.schemes is not",
    );
    refused(
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest,krb",
        "zoo.cfg:3: enforce.auth.schemes: authentication scheme \"krb\" is not available",
    );
    refused(
        "DigestAuthenticationProvider.digestAlg=MD5",
        "zoo.cfg:2: DigestAuthenticationProvider.digestAlg: \"MD5\" is not supported",
    );
    refused(
        "snapshot.compression.method=zip",
        "zoo.cfg:2: snapshot.compression.method: \"zip\" is no compression",
    );
}

#[test]
fn sasl_between_servers_must_be_consistent() {
    refused(
        "quorum.auth.serverRequireSasl=true",
        "zoo.cfg:2: quorum.auth.serverRequireSasl: quorum.auth.enableSasl is disabled, so this cannot",
    );
    refused(
        "quorum.auth.learnerRequireSasl=true",
        "zoo.cfg:2: quorum.auth.learnerRequireSasl: quorum.auth.enableSasl is disabled",
    );
    refused(
        "quorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true",
        "zoo.cfg:3: quorum.auth.serverRequireSasl: quorum.auth.learnerRequireSasl is disabled",
    );
}

#[test]
fn a_member_needs_its_number() {
    refused(THREE, "myid: myid file is missing; write");
    for (content, shown) in [("1 \n", "1 "), ("", ""), ("one", "one"), ("\n1", ""), ("1\u{e9}", "1é")] {
        let fixture = Fixture::new().with("myid", content);
        refused_in(&fixture, THREE, &format!("myid: serverid {shown:?} is not a number"));
        refused_in(&fixture, "", &format!("myid: serverid {shown:?} is not a number"));
    }
    for content in ["3", "3\n", "3\r\n", "+3\rx"] {
        let member = Fixture::new().with("myid", content).load(THREE).expect(content).config;
        assert_eq!(member.ensemble.my_id, Some(ServerId(3)), "{content:?}");
    }
}

#[test]
fn a_member_that_is_not_in_the_list_is_javas_unexpected_error() {
    let fixture = Fixture::new().with("myid", "9");
    let (message, code) = fixture.error(THREE);
    assert_eq!(message, "myid: my id 9 is not in the peer list; add a server.9 line or correct myid");
    assert_eq!(code, 1);
    assert!(fixture.load("").is_ok(), "nothing to be in for a standalone server");
}

#[test]
fn a_member_needs_its_limits() {
    let fixture = Fixture::new().with("myid", "1");
    let servers = THREE.replace("initLimit=10\n", "");
    refused_in(&fixture, &servers, "zoo.cfg: initLimit: is not set; add a line like initLimit=10");
    refused_in(&fixture, &format!("{servers}initLimit=-1"), "zoo.cfg:6: initLimit: \"-1\" is not positive");
    refused_in(
        &fixture,
        &THREE.replace("syncLimit=5", "syncLimit=0"),
        "zoo.cfg:3: syncLimit: is not set; add",
    );
    assert!(fixture.load("server.1=a:1:2").is_ok(), "one server needs none");
}

#[test]
fn a_server_id_beyond_a_byte_does_not_go_with_ttl_nodes() {
    let text = "initLimit=1\nsyncLimit=1\nserver.300=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n\
        extendedTypesEnabled=true";
    let fixture = Fixture::new().with("myid", "300");
    let (message, code) = fixture.error(text);
    assert!(message.starts_with("zoo.cfg:7: extendedTypesEnabled: server id 300 is too large"), "{message}");
    assert_eq!(code, 1);
}

#[test]
fn server_lines_have_one_form() {
    let form = "does not have the form host:quorumPort:electionPort";
    for line in [
        "",
        ";",
        "host",
        "host:1",
        "host:1:2:observer:x",
        "::1:1:2",
        ":1:2",
        "a:1:2;;;4",
        "a:1:2;h:1:2",
        "a:1:2;:3",
    ] {
        refused(&format!("server.1={line}"), &format!("zoo.cfg:2: server.1: {line:?} {form}"));
    }
    refused("server.1=h:x:2", "zoo.cfg:2: server.1: address unresolved: \"h:x\"");
    refused("server.1=h:1:70000", "zoo.cfg:2: server.1: address unresolved: \"h:70000\"");
    refused("server.1=[::1]:1:z", "zoo.cfg:2: server.1: address unresolved: \"[::1]:z\"");
    refused("server.1=h:1:2;x", "zoo.cfg:2: server.1: address unresolved: \"0.0.0.0:x\"");
    refused("server.1=[::1:1:2", "zoo.cfg:2: server.1: \"[::1:1:2\" is not [address]:port");
    refused("server.1=[::1]", "zoo.cfg:2: server.1: \"[::1]\" is not [address]:port");
    refused("server.1=h:5:5", "zoo.cfg:2: server.1: quorum and election port must be different, both are 5");
    refused("server.x=h:1:2", "zoo.cfg:2: server.x: no number after the dot; the form is server.<number>=");
    refused("server.1=a:1:2|b:1:2", "zoo.cfg:2: server.1: multiple address feature is disabled");
    let differ = "multiAddress.enabled=true\nserver.1=a:1:2:observer|b:1:2:participant";
    refused(differ, "zoo.cfg:3: server.1: the addresses of one server must all have the same role");
}

#[test]
fn there_must_be_somebody_to_vote() {
    refused("server.1=a:1:2:observer", "zoo.cfg: observers without participants are no ensemble");
    refused("server.1=a:1:2\nserver.2=b:1:2:observer", "zoo.cfg: observers need a quorum");
    refused("standaloneEnabled=false", "zoo.cfg:2: standaloneEnabled: is false, but there is no participant");
}

#[test]
fn every_participant_is_in_one_group() {
    let fixture = Fixture::new().with("myid", "1");
    let in_groups = |groups: &str| format!("{THREE}{groups}");
    refused_in(&fixture, &in_groups("group.1=1:2"), "zoo.cfg: server 3 is not in a group");
    refused_in(&fixture, &in_groups("weight.1=2"), "zoo.cfg: server 1 is not in a group");
    refused_in(
        &fixture,
        &in_groups("group.1=1:2\ngroup.2=2:3"),
        "zoo.cfg:8: group.2: server 2 is in multiple groups",
    );
    refused_in(
        &fixture,
        &in_groups("group.1=1:2:3\nweight.1=0\nweight.2=0\nweight.3=0"),
        "zoo.cfg: every participant has the weight 0",
    );
    refused_in(&fixture, &in_groups("group.1=1:2:3:4"), "zoo.cfg: group member 4 is no participant");
    refused_in(&fixture, &in_groups("group.1=1:b"), "zoo.cfg:7: group.1: \"1:b\" is not a whole number");
    refused_in(
        &fixture,
        &in_groups("group=1:2:3"),
        "zoo.cfg:7: group: no number after the dot; the form is group.",
    );
    refused_in(
        &fixture,
        &in_groups("weight.1=x\ngroup.1=1:2:3"),
        "zoo.cfg:7: weight.1: \"x\" is not a whole number",
    );
}

#[test]
fn the_membership_is_in_one_file() {
    for line in ["server.1=a:1:2", "group.1=1", "weight.1=1"] {
        let key = line.split('=').next().expect("a key");
        refused(
            &format!("dynamicConfigFile=d\n{line}"),
            &format!("zoo.cfg:3: {key}: must be in the separate file that dynamicConfigFile names"),
        );
    }
}

#[test]
fn a_dynamic_file_holds_members_only() {
    let load = |content: &str| {
        let fixture = Fixture::new().with("dyn.10a", content).with("myid", "1");
        let loaded =
            fixture.load(&format!("initLimit=1\nsyncLimit=1\ndynamicConfigFile={}", fixture.path("dyn.10a")));
        loaded.map_err(|error| (fixture.shorten(&error.to_string()), error.exit_code()))
    };
    let three = "server.1=a:1:2;2181\nserver.2=b:1:2\nserver.3=c:1:2\n";
    let ensemble = load(three).expect("a good file").config.ensemble;
    assert_eq!(ensemble.membership.version, Zxid(0x10a), "the end of the file's name");
    assert_eq!(ensemble.membership.servers.len(), 3);

    let (message, code) = load(&format!("{three}tickTime=5")).expect_err("a foreign key");
    assert!(
        message.starts_with("dyn.10a:4: tickTime: unrecognised parameter; a dynamic file holds"),
        "{message}"
    );
    assert_eq!(code, 2);
    let (message, _) = load(&format!("version=5\n{three}")).expect_err("a version");
    assert!(
        message.starts_with("dyn.10a:1: version: a dynamic file should not have a version inside"),
        "{message}"
    );
    let (message, _) = load("server.1=a").expect_err("a bad line");
    assert!(message.starts_with("dyn.10a:1: server.1: \"a\" does not have the form"), "{message}");
    refused(
        "dynamicConfigFile=/nowhere/zoo.dynamic",
        "zoo.cfg:2: dynamicConfigFile: \"/nowhere/zoo.dynamic\" is missing; give the whole path",
    );
}

#[test]
fn the_proposal_of_an_unfinished_reconfiguration_is_read() {
    let fixture = Fixture::new()
        .with("dyn", "server.1=a:1:2;0.0.0.0:2181\nserver.2=b:1:2\nserver.3=c:1:2")
        .with("zoo.cfg.dynamic.next", "server.1=a:1:2:participant;2181\nversion=100000003")
        .with("myid", "1");
    let text = format!("initLimit=1\nsyncLimit=1\ndynamicConfigFile={}", fixture.path("dyn"));
    let ensemble = fixture.load(&text).expect("good").config.ensemble;
    assert_eq!(ensemble.membership.version, Zxid(0));
    let last_seen = ensemble.last_seen.expect("there is one");
    assert_eq!((last_seen.version, last_seen.servers.len()), (Zxid(0x1_0000_0003), 1));
    assert_eq!(fixture.load("").expect("good").config.ensemble.last_seen, None, "only beside a dynamic file");
}

#[test]
fn both_client_addresses_of_a_member_must_agree() {
    let member = |addresses: &str, in_line: &str| {
        let fixture = Fixture::new().with("myid", "1");
        let lines = THREE.replace("server.1=a:2888:3888", &format!("server.1=a:2888:3888{in_line}"));
        let loaded =
            fixture.load_bare(&format!("dataDir={}\n{addresses}\n{lines}", fixture.dir.path().display()));
        loaded.map(|loaded| loaded.config.client_port.address.map(|address| address.to_string())).map_err(
            |error| {
                assert_eq!(error.exit_code(), 2);
                fixture.shorten(&error.to_string())
            },
        )
    };
    assert_eq!(member("", ";2181"), Ok(Some("0.0.0.0:2181".into())));
    assert_eq!(member("", ""), Ok(None), "a member may do without clients");
    assert_eq!(member("clientPort=2181", ""), Ok(Some("0.0.0.0:2181".into())));
    assert_eq!(member("clientPort=2181", ";[::1]:2181"), Ok(Some("[::1]:2181".into())));
    assert_eq!(member("clientPort=2181\nclientPortAddress=H", ";h:2181"), Ok(Some("h:2181".into())));
    assert_eq!(
        member("clientPort=2181\nclientPortAddress=localhost", ";127.0.0.1:2181"),
        Ok(Some("127.0.0.1:2181".into()))
    );
    let differ = |addresses: &str, in_line| member(addresses, in_line).expect_err(addresses);
    assert_eq!(
        differ("clientPort=2182", ";2181"),
        "zoo.cfg:2: clientPort: client address 0.0.0.0:2182 differs from 0.0.0.0:2181 in this server's \
         server line; remove one of them"
    );
    differ("clientPort=2181\nclientPortAddress=g", ";h:2181");
    differ("clientPort=2181\nclientPortAddress=127.0.0.1", ";0.0.0.0:2181");
}
