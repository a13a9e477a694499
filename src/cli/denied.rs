//! Says which rights a role lacks, when PostgreSQL has denied it something.

use super::Command;
use crate::apply;
use crate::capture;
use crate::config::Config;
use crate::error::{Error, chain};
use crate::right::Lacking;
use crate::session;
use crate::verify::VerifyError;

/// Returns `error` with the rights that are missing, where the catalog tells any: it is asked for what the command's role
/// needs, because the server's own message does not say which right it was.
pub(super) async fn explained(error: Error, config: &Config, command: &Command) -> Error {
    let at_destination = match &error {
        Error::Target(_) | Error::Consume(_) | Error::Verify(VerifyError::Target(_)) => true,
        Error::Verify(VerifyError::Query { side, .. }) => *side == "destination",
        _ => false,
    };
    let (side, lacking) = match at_destination {
        true => ("destination", at_the_destination(config).await),
        false => ("source", at_the_source(config, command, &error).await),
    };
    match lacking {
        Some(lacking) if !lacking.is_empty() => Error::Denied { side, lacking, source: Box::new(error) },
        _ => error,
    }
}

async fn at_the_source(config: &Config, command: &Command, error: &Error) -> Option<Vec<Lacking>> {
    let mut client = session::connect("source", config.source_url().ok()?, "rights").await.ok()?;
    let schema = &config.capture.schema;
    let lacking = match command {
        Command::Init { .. } | Command::Uninstall { .. } => {
            let owner = chain(error).contains("must be owner");
            capture::lacking_to_install(&mut client, schema, owner).await
        }
        _ => capture::lacking_to_read(&mut client, schema).await,
    };
    lacking.ok()
}

async fn at_the_destination(config: &Config) -> Option<Vec<Lacking>> {
    apply::lacking(config.destination_url().ok()??, &config.pipeline).await.ok()
}
