//! `passback keys generate|jwks`: the tool's RSA keys, printed or written for nobody else to read.
//!
//! How a key is made and how a key set looks is `config`'s business; both come in as values.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{
    fault::CliError,
    output::{Screen, note},
    when,
};

/// `passback keys …`
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make an RSA key for LTI 1.3, and say how to configure it
    #[command(after_long_help = GENERATE_EXAMPLES)]
    Generate(GenerateArgs),
    /// Print the configured keys' public halves as a JWKS, for a platform that cannot fetch it
    Jwks,
}

const GENERATE_EXAMPLES: &str = "Examples:
  passback keys generate --kid 2026-11 --out keys/
  passback keys generate > tool.pem

To change the key without a gap: put the new one last under [[signing_keys]] and send SIGHUP, so that it is published; a
day later put it first, where it signs, and send SIGHUP; after another day remove the old one.";

/// `passback keys generate`
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// The key's name. Without it: today's date
    #[arg(long, value_name = "NAME", value_parser = key_name)]
    pub kid: Option<String>,
    /// Write the private key to this file, or to NAME.pem in this folder, readable by you alone. Without it: print it
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,
}

fn key_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if (1..=100).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 100 letters, digits and .-_ and not begin with a point".to_owned())
    }
}

/// Prints or writes a private key, and says on standard error what belongs into the configuration.
pub fn generate(args: &GenerateArgs, private_key: &SecretString, screen: &mut Screen) -> Result<(), CliError> {
    let kid = args.kid.clone().unwrap_or_else(|| when::to_the_second(screen.look.now)[.."2026-11-21".len()].to_owned());
    let path = match &args.out {
        Some(out) if out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            Some(out.join(format!("{kid}.pem")))
        }
        out => out.clone(),
    };
    match &path {
        Some(path) => {
            write_private(path, private_key).map_err(|error| not_written(path, &error))?;
            screen.line(&format!("{} is written, for you alone to read", path.display()))?;
        }
        None => screen.print(&format!("{}\n", private_key.expose_secret().trim_end()))?,
    }
    let file = path.map_or_else(|| format!("keys/{kid}.pem"), |path| path.display().to_string());
    note(&configuration(&kid, &file));
    Ok(())
}

fn configuration(kid: &str, file: &str) -> String {
    let file = Value::from(file);
    format!("\nConfigure it so:\n\n[[signing_keys]]\nkid = \"{kid}\"\nprivate_key = {{ file = {file} }}")
}

/// Never over a file that is there: it may be the key that the platforms know.
fn write_private(path: &Path, private_key: &SecretString) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(private_key.expose_secret().as_bytes())?;
    file.sync_all()
}

fn not_written(path: &Path, error: &io::Error) -> CliError {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::Usage(format!("{path} is there already, and is not overwritten: it may be in use"))
        }
        _ => CliError::Failed(format!("{path} cannot be written: {error}")),
    }
}

/// Prints a key set.
pub fn jwks(set: &Value, screen: &mut Screen) -> Result<(), CliError> {
    if set["keys"].as_array().is_none_or(Vec::is_empty) {
        note("no [[signing_keys]] are configured; make one with `passback keys generate`");
    }
    screen.line(&format!("{set:#}"))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use serde_json::json;

    use super::{super::testing, *};

    fn pem() -> SecretString {
        "-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----\n".into()
    }

    #[test]
    fn a_key_is_written_for_its_owner_alone_and_never_over_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = GenerateArgs { kid: None, out: Some(folder.path().to_owned()) };
        let written = testing::Written::default();
        let mut screen = written.screen(testing::program());
        generate(&args, &pem(), &mut screen).expect("it is written");
        let path = folder.path().join("2026-11-21.pem");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), pem().expose_secret());
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert!(!written.text().contains("PRIVATE"));
        let again = generate(&args, &pem(), &mut screen).expect_err("it is there");
        assert!(again.to_string().contains("not overwritten") && again.exit_code() == 2, "{again}");
    }

    #[test]
    fn without_a_path_the_key_is_all_that_is_printed() {
        let written = testing::Written::default();
        let args = GenerateArgs { kid: Some("k".to_owned()), out: None };
        generate(&args, &pem(), &mut written.screen(testing::program())).expect("it is printed");
        assert_eq!(written.text(), pem().expose_secret());
        assert!(configuration("k", "keys/k.pem").ends_with("private_key = { file = \"keys/k.pem\" }"));
    }

    #[test]
    fn a_key_set_is_printed_as_json() {
        let written = testing::Written::default();
        jwks(&json!({ "keys": [{ "kid": "k" }] }), &mut written.screen(testing::program())).expect("it is printed");
        assert_eq!(serde_json::from_str::<Value>(&written.text()).expect("JSON")["keys"][0]["kid"], "k");
    }
}
