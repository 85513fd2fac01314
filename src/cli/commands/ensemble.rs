//! Commands about the ensemble's membership.

use super::nodes::print_stat_if_asked;
use super::{Context, Outcome};
use crate::cli::error::Failure;
use crate::cli::options::Parsed;

pub fn config(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let (data, stat) = context.client.get_config(parsed.has("w"))?;
    let text = String::from_utf8_lossy(data.as_deref().unwrap_or(b"null")).into_owned();
    context.output.line(&if parsed.has("c") { connect_string(&text) } else { text });
    print_stat_if_asked(context, parsed, &stat);
    Ok(())
}

/// `version host:port,host:port`: what a client of this ensemble would connect to (`ConfigUtils`).
fn connect_string(membership: &str) -> String {
    let mut version = "";
    let mut clients = Vec::new();
    for (key, value) in membership.lines().filter_map(|line| line.split_once('=')) {
        if key.trim() == "version" {
            version = value.trim();
        } else if key.starts_with("server.") {
            // host:quorum:election:role;clientHost:clientPort
            clients.extend(value.split_once(';').map(|(_, client)| client.trim()));
        }
    }
    format!("{version} {}", clients.join(","))
}

pub fn reconfig(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let (file, members) = (parsed.value("file"), parsed.value("members"));
    let (add, remove) = (parsed.value("add"), parsed.value("remove"));
    let (whole, incremental) = (file.is_some() || members.is_some(), add.is_some() || remove.is_some());
    if !whole && !incremental {
        return Err(Failure::Text(format!("reconfig {}", super::RECONFIG_USAGE)));
    }
    let version = match parsed.value("v") {
        None => -1,
        Some(hex) => i64::from_str_radix(hex, 16)
            .map_err(|_| Failure::text("-v must be followed by a long (configuration version)"))?,
    };
    if whole && incremental {
        return Err(Failure::text(
            "Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental \
             modes is not allowed)",
        ));
    }
    let members = match (file, members) {
        (Some(_), Some(_)) => {
            return Err(Failure::text(
                "Can't use -file and -members together (conflicting non-incremental modes)",
            ));
        }
        (Some(file), None) => Some(members_of_file(file)?),
        (None, members) => members.map(str::to_lowercase),
    };
    let (config, stat) = context.client.reconfig(
        add.map(str::to_lowercase).as_deref(),
        remove.map(str::to_lowercase).as_deref(),
        members.as_deref(),
        version,
    )?;
    context.output.line(&format!("Committed new configuration:\n{}", String::from_utf8_lossy(&config)));
    print_stat_if_asked(context, parsed, &stat);
    Ok(())
}

/// The membership lines of a configuration file, as the request wants them. The leader checks what they say.
fn members_of_file(file: &str) -> Result<String, Failure> {
    let bad = |why: String| Failure::Text(format!("Error processing {file}: {why}"));
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    let members: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| ["server.", "group.", "weight."].iter().any(|key| line.starts_with(key)))
        .collect();
    if !members.iter().any(|line| line.starts_with("server.")) {
        return Err(bad("it has no server line".into()));
    }
    Ok(members.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connect_string_has_every_client_address() {
        let membership = "server.1=h1:2888:3888:participant;0.0.0.0:2181\nserver.2=h2:2888:3888:observer\n\
                          server.3=[::1]:2888:3888:participant;[::1]:2183\nversion=100000000";
        assert_eq!(connect_string(membership), "100000000 0.0.0.0:2181,[::1]:2183");
        assert_eq!(connect_string(""), " ");
    }
}
