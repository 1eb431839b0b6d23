//! The command line as a whole: what it understands, and what its help says.

use super::fixture::{self, blocked, daemon, ready, report, serve_unix};
use super::*;

pub(super) mod documented;

fn subcommands() -> Vec<String> {
    parser()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect()
}

fn help(arguments: &[&str]) -> String {
    let error = parse([&["volume-daemon"], arguments].concat()).expect_err("help");
    assert!(!error.use_stderr(), "{error}");
    error.render().to_string()
}

#[test]
fn the_parser_holds_together() {
    parser().debug_assert();
}

#[test]
fn every_help_has_an_example_and_exit_codes_and_fits_a_screen() {
    let names = subcommands();
    let mut texts = vec![help(&["--help"]), help(&["-h"])];
    texts.extend(names.iter().map(|name| help(&[name, "--help"])));
    for text in texts {
        assert!(text.contains("Examples:\n"), "{text}");
        assert!(text.contains("Exit codes"), "{text}");
        let long = text.lines().find(|line| line.chars().count() > WIDTH_MAX);
        assert_eq!(long, None);
    }
}

#[test]
fn the_overview_has_every_command_once() {
    let text = help(&["--help"]);
    let listed: Vec<&str> = GROUPS
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    let mut all = subcommands();
    all.sort_unstable();
    assert_eq!(sorted, all);
    for name in listed {
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&format!("  {name} ")));
        assert_eq!(lines.count(), 1, "{name}: {text}");
    }
    assert!(text.contains(config::DEFAULT_FILE), "{text}");
}

/// An example that is not understood teaches the wrong thing.
#[test]
fn every_example_is_understood() {
    let names = subcommands();
    let mut tried = 0;
    for name in &names {
        let text = help(&[name, "--help"]);
        let (_, examples) = text.split_once("Examples:\n").expect("examples");
        let examples = examples
            .lines()
            .take_while(|line| line.is_empty() || line.starts_with("  "));
        for line in examples.filter_map(|line| line.trim().strip_prefix("volume-daemon ")) {
            // Up to the remark, the pipe or the redirection.
            let end = [" | ", " >", "  "]
                .iter()
                .filter_map(|mark| line.find(mark))
                .min();
            let command = line.get(..end.unwrap_or(line.len())).expect("a boundary");
            let parsed = parse(std::iter::once("volume-daemon").chain(command.split(' ')));
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.map(|_| ()));
            tried += 1;
        }
    }
    assert!(tried > names.len(), "{tried}");
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for arguments in [
        &["volume-daemon"] as &[&str],
        &["volume-daemon", "plna"],
        &["volume-daemon", "plan", "--offline", "--online"],
        &["volume-daemon", "plan", "a.yaml", "--online"],
        &["volume-daemon", "plan", "--set", "cloudstack=x"],
        &["volume-daemon", "describe", "volume", "Not A Name"],
        &["volume-daemon", "wait", "volume/a"],
        &["volume-daemon", "wait", "volume/a", "--for=redy"],
    ] {
        let error = parse(arguments).expect_err("no sense");
        assert!(error.use_stderr(), "{arguments:?}");
    }
}

/// Runs a whole command line against the daemon at `address`.
async fn ran(address: &config::Address, arguments: &[&str]) -> (ExitCode, String, String) {
    let listen = format!("--set=api.listen={address}");
    // A file of its own, so that the one of this machine does not count.
    let file = tempfile::NamedTempFile::new().expect("a file");
    let file = format!("--config={}", file.path().display());
    let all = [&["volume-daemon", &listen, &file], arguments].concat();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = Io {
        out: &mut out,
        err: &mut err,
        live: false,
    };
    let exit = match run(parse(all).expect("a command line"), &mut io).await {
        Ok(exit) => exit,
        Err(error) => fail(&error, io.err).into(),
    };
    let text = |bytes| fixture::plain(&String::from_utf8(bytes).expect("UTF-8"));
    (exit, text(out), text(err))
}

#[tokio::test]
async fn each_command_asks_the_daemon_and_tells_scripts_how_it_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = report([ready("a"), blocked("b")]);
    let address = serve_unix(daemon(vec![report]), &dir.path().join("api.sock"));
    for (arguments, exit, says) in [
        (&["plan"] as &[&str], Exit::Blocked, "1 blocked, 1 in sync"),
        (&["plan", "-o", "json"], Exit::Blocked, "\"inSync\": 1"),
        (
            &["drift"],
            Exit::Differences,
            "1 difference in 1 of 2 volumes",
        ),
        (
            &["drift", "-o", "json"],
            Exit::Differences,
            "\"Attachment\"",
        ),
        (&["get", "volumes"], Exit::Fine, "ForeignAttachment"),
        (&["get", "volume", "a", "-o", "wide"], Exit::Fine, "SERIAL"),
        (
            &["get", "exports", "-o", "json"],
            Exit::Fine,
            "\"migration-vol-a\"",
        ),
        (&["get", "sources"], Exit::Fine, "cloudstack"),
        (&["describe", "volume", "b"], Exit::Fine, "Try: cmk list"),
        (
            &["wait", "volume/a", "--for=Ready"],
            Exit::Fine,
            "volume/a: Ready",
        ),
    ] {
        let (code, out, err) = ran(&address, arguments).await;
        assert_eq!(code, exit.into(), "{arguments:?}: {out}{err}");
        assert!(out.contains(says), "{arguments:?}: {out}");
        assert_eq!(err, "", "{arguments:?}");
    }
    for (arguments, exit, says) in [
        (
            &["get", "volumes", "aa"] as &[&str],
            Exit::Error,
            "there is no volume named \"aa\"",
        ),
        (
            &["get", "volumes", "--open"],
            Exit::Invalid,
            "hint: volume-daemon get intents --open",
        ),
        (
            &["get", "intents", "A"],
            Exit::Invalid,
            "a name has 1-63 characters",
        ),
        (&["get", "intents"], Exit::Error, "with 404 Not Found"),
        (
            &["describe", "volume", "c"],
            Exit::Error,
            "volume-daemon get volumes lists them all",
        ),
        (
            &["plan", "--set", "api.lisen=x"],
            Exit::Invalid,
            "--set api.lisen: unknown field",
        ),
        (
            &["wait", "volume/b", "--for=Ready", "--timeout=0s"],
            Exit::TimedOut,
            "timed out",
        ),
    ] {
        let (code, out, err) = ran(&address, arguments).await;
        assert_eq!(code, exit.into(), "{arguments:?}: {out}{err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?}");
    }
}
