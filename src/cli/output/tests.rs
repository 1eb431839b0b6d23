use super::*;

fn failed(error: impl Into<anyhow::Error>) -> (Exit, String) {
    let mut text = Vec::new();
    let exit = fail(&error.into(), &mut text);
    let text = String::from_utf8(text).expect("UTF-8");
    (exit, anstream::adapter::strip_str(&text).to_string())
}

#[test]
fn each_cause_is_said_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer: {0}")]
    struct Repeats(#[source] io::Error);
    let error = anyhow::Error::new(Repeats(io::Error::other("inner"))).context("top");
    assert_eq!(
        failed(error),
        (Exit::Error, "error: top: outer: inner\n".to_owned())
    );
}

#[test]
fn a_missing_setting_is_invalid_and_says_all_three_ways_to_set_it() {
    let (exit, text) = failed(ConfigError::Missing {
        key: "cloudstack.url",
        hint: "set it to the API endpoint",
    });
    assert_eq!(exit, Exit::Invalid);
    assert_eq!(
        text,
        "error: cloudstack.url is not set; set it to the API endpoint\n\
             hint: set it in /etc/volume-daemon/config.toml, as \
             VOLUME_DAEMON_CLOUDSTACK__URL=…, or with --set cloudstack.url=…\n"
    );
}

#[test]
fn an_answer_that_nobody_reads_is_no_error_but_a_lost_connection_is() {
    let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
    assert_eq!(failed(closed()), (Exit::Unread, String::new()));
    let json = serde_json::Error::io(closed());
    assert_eq!(failed(json), (Exit::Unread, String::new()));
    let (exit, text) = failed(anyhow::Error::new(Failure {
        message: "QMP socket".to_owned(),
        hint: None,
        exit: Exit::Error,
    }));
    assert_eq!((exit, text.as_str()), (Exit::Error, "error: QMP socket\n"));
    #[derive(Debug, thiserror::Error)]
    #[error("the NBD server hung up")]
    struct Elsewhere(#[source] io::Error);
    assert_eq!(failed(Elsewhere(closed())).0, Exit::Error);
}

#[test]
fn near_names_are_offered() {
    let known = ["pgtest2-disk-0", "other"];
    let near = not_found("volume", "pgtest2-disk0", known);
    assert_eq!(near.hint.as_deref(), Some("did you mean pgtest2-disk-0?"));
    let far = not_found("volume", "zzz", known);
    assert_eq!(
        far.hint.as_deref(),
        Some("volume-daemon get volumes lists them all")
    );
}

#[test]
fn tables_align_and_say_where_there_is_nothing() {
    let rows = [
        vec![plain("a"), cell("Ready", GOOD)],
        vec![plain("longer"), plain("")],
    ];
    let text = table(&["NAME", "PHASE"], rows);
    assert_eq!(
        anstream::adapter::strip_str(&text).to_string(),
        "NAME     PHASE\na        Ready\nlonger   -\n"
    );
    assert!(text.contains('\x1b'), "{text:?}");
}

#[test]
fn spans_are_as_exact_as_they_are_useful() {
    for (seconds, text) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (600, "10m"),
        (7199, "119m"),
        (7200, "2h"),
        (9000, "2h30m"),
        (36_000, "10h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ] {
        assert_eq!(span(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn no_text_of_others_controls_the_terminal() {
    let hostile = vec!["a\x1b[2Jb\nc".to_owned(), "plain é".to_owned()];
    let shown = printable(&hostile).expect("JSON and back");
    assert_eq!(shown, ["a [2Jb c", "plain é"]);
}
