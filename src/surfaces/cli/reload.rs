//! `passback reload`: a worker reads its keys, platforms and tokens anew, from wherever the command is given.

use clap::Args;
use serde::Deserialize;

use super::{
    client::ClientError,
    connect::{AskArgs, FindLocal, NoteArgs},
    fault::CliError,
    output::{Screen, note, printable},
};

/// `passback reload`
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ReloadArgs {
    /// Why.
    #[command(flatten)]
    pub why: NoteArgs,
    /// The worker, and how it is shown.
    #[command(flatten)]
    pub ask: AskArgs,
}

const EXAMPLES: &str = "Examples:
  passback reload
  passback reload --url https://passback.example.edu --note 'a new consumer key'

The worker reads its own configuration file again, and tells what is otherwise. A file that is wrong changes nothing, is told,
and ends the command with 2. All other settings are read at a start alone. A process keeps its environment: what shall change
must stand in a file.";

/// What the API answers.
#[derive(Deserialize)]
struct Reloaded {
    /// In words.
    #[serde(default)]
    changes: Vec<String>,
}

/// Carries the command out.
pub async fn run(args: &ReloadArgs, local: FindLocal<'_>, screen: &mut Screen) -> Result<(), CliError> {
    let client = args.ask.connect.client(local)?;
    match client.post(&["api", "v1", "reload"], args.why.payload()).await {
        Ok(body) if args.ask.json => screen.json(&body),
        Ok(body) => {
            let Reloaded { changes } = serde_json::from_str(&body).map_err(|_| client.strange(&body))?;
            let none = changes.is_empty().then_some(", and all is as it was");
            note(&format!("keys, platforms and tokens were read anew{}", none.unwrap_or_default()));
            changes.iter().try_for_each(|change| screen.line(&printable(change)))
        }
        // The configuration is at fault, and not the worker.
        Err(ClientError::Problem(problem)) if problem.status == 422 => Err(CliError::Usage(problem.to_string())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{self, Api, Written, nowhere},
        *,
    };

    #[tokio::test]
    async fn a_wrong_file_is_told_and_ends_with_2() {
        let api = Api::start(|request| match request.body.as_str() {
            "" => (200, r#"{"status":"reloaded","changes":["[[tokens]] ops\u001b[2J is gone"]}"#.to_owned()),
            _ => (422, r#"{"detail": "nothing has changed: line 3: unknown key `a`"}"#.to_owned()),
        })
        .await;
        let reload = async |note: Option<&str>, json: bool| {
            let (why, ask) = (NoteArgs { note: note.map(str::to_owned) }, AskArgs { json, connect: api.connect() });
            let written = Written::default();
            let ended = run(&ReloadArgs { why, ask }, &nowhere, &mut written.screen(testing::program())).await;
            (ended, written.text())
        };
        let (ended, text) = reload(None, true).await;
        assert!(ended.is_ok() && text.starts_with("{\"status\":\"reloaded\",\"changes\":["), "{text}");
        let (ended, text) = reload(None, false).await;
        assert!(ended.is_ok() && text == "[[tokens]] ops [2J is gone\n", "{text}");
        let (ended, _) = reload(Some("new keys"), false).await;
        let error = ended.expect_err("the file is wrong");
        assert!(error.exit_code() == 2 && error.to_string().contains("line 3"), "{error}");
        let last = api.seen().pop().expect("a request");
        assert_eq!((last.line.as_str(), last.body.as_str()), ("POST /api/v1/reload", r#"{"note":"new keys"}"#));
    }
}
