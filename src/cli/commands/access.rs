//! Commands about who may do what.

use super::nodes::{print_stat_if_asked, walk};
use super::{Context, Outcome, expected_version, required};
use crate::cli::error::KeeperError;
use crate::cli::format;
use crate::cli::options::Parsed;
use crate::wire::error::ErrorCode;

pub fn get_acl(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let (acl, stat) = context.client.get_acl(required(parsed, 0))?;
    acl.iter().for_each(|entry| context.output.line(&format::acl(entry)));
    print_stat_if_asked(context, parsed, &stat);
    Ok(())
}

pub fn set_acl(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let path = required(parsed, 0);
    let (acl, complaints) = format::parse_acl(required(parsed, 1));
    complaints.iter().for_each(|complaint| context.output.complaint(complaint));
    let version = expected_version(parsed)?;
    if acl.is_empty() {
        return Err(KeeperError { code: ErrorCode::InvalidAcl.code(), path: None }.into());
    }
    if !parsed.has("R") {
        let stat = context.client.set_acl(path, &acl, version)?;
        print_stat_if_asked(context, parsed, &stat);
        return Ok(());
    }
    // A node that refuses does not stop the others, but the command has then failed.
    let mut refused = None;
    walk(context.client, path, false, &mut |path| {
        if let Err(failure) = context.client.set_acl(path, &acl, version)
            && let Some(earlier) = refused.replace(failure)
        {
            context.output.complaint(&earlier.to_string());
        }
    })?;
    refused.map_or(Ok(()), Err)
}

pub fn add_auth(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    context.client.add_auth(required(parsed, 0), parsed.argument(1).map(str::as_bytes))
}

pub fn who_am_i(context: &Context<'_>, _: &Parsed) -> Outcome {
    let identities = context.client.who_am_i()?;
    context.output.line("Auth scheme: User");
    identities.iter().for_each(|(scheme, user)| context.output.line(&format!("{scheme}: {user}")));
    Ok(())
}
