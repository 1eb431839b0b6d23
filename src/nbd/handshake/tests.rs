//! A server of bytes: everything it is going to say is in a buffer from the start.

use proptest::prelude::*;
use tokio::io::{join, sink};

use super::super::chain;
use super::*;

const ACK: u32 = 1;
const SERVER: u32 = 2;
const INFO: u32 = 3;
const ERROR: u32 = 1 << 31;

fn greeting() -> Vec<u8> {
    [b"NBDMAGIC".as_slice(), b"IHAVEOPT", &[0, 3]].concat()
}

fn reply(option: u32, kind: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
    for field in [option, kind, length] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

fn listed(name: &[u8]) -> Vec<u8> {
    let length = u32::try_from(name.len()).expect("a short name");
    reply(
        wire::LIST,
        SERVER,
        &[&length.to_be_bytes(), name, b"for people"].concat(),
    )
}

fn export_info(size: u64, flags: u16) -> Vec<u8> {
    let mut payload = vec![0, 0];
    payload.extend(size.to_be_bytes());
    payload.extend(flags.to_be_bytes());
    reply(wire::INFO, INFO, &payload)
}

fn description(text: &str) -> Vec<u8> {
    reply(wire::INFO, INFO, &[&[0, 2], text.as_bytes()].concat())
}

fn end_of(option: u32) -> Vec<u8> {
    reply(option, ACK, b"")
}

async fn client(server: Vec<u8>) -> Result<Client, HandshakeError> {
    let reader = std::io::Cursor::new(server);
    Client::over(Box::new(join(reader, sink()))).await
}

async fn names(server: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, HandshakeError> {
    let server = [greeting(), server.concat()].concat();
    client(server).await?.list().await
}

async fn infos(
    count: usize,
    server: &[Vec<u8>],
) -> Result<Vec<Result<ExportInfo, Refusal>>, HandshakeError> {
    let server = [greeting(), server.concat()].concat();
    let names = vec!["e0".parse().expect("a name"); count];
    client(server).await?.info(&names).await
}

#[tokio::test]
async fn greetings_that_are_not_fixed_newstyle_are_refused() {
    let with =
        |option: &[u8], flags: u16| [b"NBDMAGIC".as_slice(), option, &flags.to_be_bytes()].concat();
    let old = 0x0000_4202_8186_1253_u64.to_be_bytes();
    for (case, bytes, says) in [
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "greet as"),
        ("oldstyle", with(&old, 0), "oldstyle"),
        ("no options", with(b"whatever", 0), "greet as"),
        ("not fixed", with(b"IHAVEOPT", 2), "fixed"),
        ("cut off", b"NBDMAGICIHAVEOPT\0".to_vec(), "closed"),
        ("silent", Vec::new(), "closed"),
    ] {
        let error = client(bytes).await.expect_err(case);
        assert!(chain(&error).contains(says), "{case}: {}", chain(&error));
    }
    assert!(client(greeting()).await.is_ok());
}

#[test]
fn only_flags_that_the_server_has_are_answered() {
    for (server, answer) in [(1_u16, 1), (3, 3), (0xffff, 3)] {
        let mut bytes: [u8; 18] = *b"NBDMAGICIHAVEOPT\0\0";
        bytes[16..].copy_from_slice(&server.to_be_bytes());
        assert_eq!(wire::greeting(&bytes), Ok(answer), "{server:#x}");
    }
}

#[tokio::test]
async fn every_listed_name_is_read_as_bytes() {
    let end = end_of(wire::LIST);
    let read = names(&[listed(b"e0"), listed(b""), listed(b"\xff/ %"), end]).await;
    assert_eq!(read.expect("a list"), [&b"e0"[..], b"", b"\xff/ %"]);
    let none = names(&[end_of(wire::LIST)]).await.expect("a list");
    assert_eq!(none, Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn lists_that_break_the_protocol_are_errors() {
    let to_list = |kind, payload: &[u8]| reply(wire::LIST, kind, payload);
    let mut huge = to_list(SERVER, b"");
    huge[16..].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut no_magic = end_of(wire::LIST);
    no_magic[0] = 1;
    for (case, bytes, says) in [
        ("4 GiB", huge, "more than 16384 bytes in a reply"),
        ("no magic", no_magic, "does not start as one"),
        ("another option", end_of(wire::INFO), "another option"),
        (
            "name longer than the reply",
            to_list(SERVER, &[0xff, 0xff, 0xff, 0xff, b'a']),
            "shorter than it says",
        ),
        (
            "no name length",
            to_list(SERVER, &[0, 0, 0]),
            "shorter than it says",
        ),
        ("unknown kind", to_list(77, b""), "that is none"),
        (
            "forbidden",
            to_list(ERROR | 2, b"no"),
            "forbidden by the server's configuration: \"no\"",
        ),
        ("TLS only", to_list(ERROR | 5, b""), "requires TLS"),
        ("cut off", listed(b"e0"), "closed the connection"),
        (
            "endless",
            listed(b"e0").repeat(NAMES_MAX + 1),
            "more than 10000 export names",
        ),
        (
            "endless and long",
            listed(&[b'x'; 4096]).repeat(READ_MAX / 4096),
            "bytes in one negotiation",
        ),
    ] {
        let error = names(&[bytes]).await.expect_err(case);
        assert!(chain(&error).contains(says), "{case}: {}", chain(&error));
    }
}

#[tokio::test]
async fn size_flags_and_description_of_each_export_are_read() {
    let info = |size, read_only, description: Option<&str>| {
        Ok(ExportInfo {
            size: ByteSize::bytes(size),
            read_only,
            description: description.map(str::to_owned),
        })
    };
    let read = infos(
        4,
        &[
            export_info(64, 0x0d6d),
            description("node"),
            end_of(wire::INFO),
            // No description; one unknown piece of information.
            reply(wire::INFO, INFO, &[0xff, 0xff, 1, 2, 3]),
            export_info(u64::MAX, 0x050f),
            end_of(wire::INFO),
            reply(wire::INFO, ERROR | 6, b"export 'e2' not present"),
            // An error in the middle of an answer ends it.
            export_info(64, 1),
            reply(wire::INFO, ERROR | 99, b""),
        ],
    )
    .await
    .expect("four answers");
    let refused = |reason, message: &str| {
        Err(Refusal {
            reason,
            message: message.to_owned(),
        })
    };
    assert_eq!(
        read,
        [
            info(64, false, Some("node")),
            info(u64::MAX, true, None),
            refused(RefusalReason::Unknown, "export 'e2' not present"),
            refused(RefusalReason::Other(ERROR | 99), ""),
        ]
    );
}

#[tokio::test]
async fn information_that_breaks_the_protocol_is_an_error() {
    let piece = |payload: &[u8]| reply(wire::INFO, INFO, payload);
    for (case, bytes, says) in [
        (
            "nothing but the end",
            end_of(wire::INFO),
            "without NBD_INFO_EXPORT",
        ),
        ("no kind", piece(&[0]), "shorter than it says"),
        ("no size", piece(&[0, 0, 1]), "shorter than it says"),
        ("more than a size", piece(&[0; 13]), "another length"),
        ("no flags", export_info(64, 0), "NBD_FLAG_HAS_FLAGS"),
        (
            "not information",
            reply(wire::INFO, SERVER, b""),
            "that is none",
        ),
        (
            "endless",
            description("x").repeat(INFO_REPLIES_MAX + 1),
            "more than 16 replies",
        ),
        ("cut off", export_info(64, 1), "closed the connection"),
    ] {
        let error = infos(1, &[bytes]).await.expect_err(case);
        assert!(chain(&error).contains(says), "{case}: {}", chain(&error));
    }
}

#[tokio::test]
async fn requests_and_answers_larger_than_any_buffer_do_not_block_each_other() {
    let (ours, theirs) = tokio::io::duplex(512);
    let name: ExportName = "n".repeat(255).parse().expect("the longest name");
    let names = vec![name; 200];
    let server = async {
        let (mut reader, mut writer) = split(theirs);
        writer.write_all(&greeting()).await.expect("a reader");
        let mut flags = [0; 4];
        reader.read_exact(&mut flags).await.expect("client flags");
        for name in &names {
            let expected = option(wire::INFO, &wire::info_request(name));
            let mut request = vec![0; expected.len()];
            reader.read_exact(&mut request).await.expect("a request");
            assert_eq!(request, expected);
            let answer = [
                export_info(64, 1),
                description(&"d".repeat(300)),
                end_of(wire::INFO),
            ];
            writer.write_all(&answer.concat()).await.expect("a reader");
        }
    };
    let client = async {
        let mut client = Client::over(Box::new(ours)).await.expect("a greeting");
        client.info(&names).await.expect("answers")
    };
    let ((), infos) = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::join!(server, client)
    })
    .await
    .expect("neither side waits for the other");
    assert_eq!(infos.len(), names.len());
    assert!(infos.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("nbd.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("a new socket");
    let address = NbdAddress::Unix(path);
    let error = survey(&address, Duration::from_millis(20))
        .await
        .expect_err("nobody answers");
    assert!(matches!(error, HandshakeError::Timeout { .. }), "{error:?}");
    drop(listener);
    let error = survey(&address, Duration::from_secs(10))
        .await
        .expect_err("nobody listens");
    assert!(matches!(error, HandshakeError::Connect { .. }), "{error:?}");
}

/// Bytes that look enough like the protocol to get past the first checks.
fn nearly_a_server() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    let kind = prop_oneof![
        Just(ACK),
        Just(SERVER),
        Just(INFO),
        Just(ERROR | 6),
        any::<u32>()
    ];
    let option = prop_oneof![Just(wire::LIST), Just(wire::INFO), any::<u32>()];
    let one = (option, kind, payload).prop_map(|(o, k, p)| reply(o, k, &p));
    let noise = prop::collection::vec(any::<u8>(), 0..40);
    prop::collection::vec(prop_oneof![8 => one, 1 => noise], 0..12)
        .prop_map(|parts| [greeting(), parts.concat()].concat())
}

proptest! {
    #[test]
    fn no_bytes_from_a_server_cause_a_panic_or_a_hang(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            nearly_a_server(),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let finished = runtime.block_on(async {
            let session = async {
                let mut client = client(bytes).await?;
                client.list().await?;
                client.info(&vec!["e0".parse().expect("a name"); 3]).await
            };
            tokio::time::timeout(Duration::from_secs(5), session).await
        });
        prop_assert!(finished.is_ok(), "still reading a finite input");
    }
}
