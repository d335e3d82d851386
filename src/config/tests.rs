//! The configuration from outside: which layer wins, what an error says, what is never printed.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use longshore_actors::in_flight::InFlightLimits;
use longshore_actors::pace::Bounds;
use longshore_actors::pipeline::Order;

use super::*;
use crate::positions::StartPosition;

const KINDS: [Kind; 2] = [
    Kind {
        name: "ads",
        default_topics: &["ads.events"],
        lookups: &["campaigns", ""],
        lands: false,
    },
    Kind { name: "orders", default_topics: &[], lookups: &[], lands: false },
];

const URL: &str = "[database]\nurl = \"postgres://me@db/shop\"\n";

fn vars(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn layers(toml: &str, env: &[(&str, &str)]) -> Result<Layers, ConfigError> {
    Layers::new().text("longshore.toml", toml)?.environment(vars(env))
}

fn build(toml: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    layers(toml, env)?.build(&KINDS)
}

/// Builds from `toml` and a database URL.
fn built(toml: &str, env: &[(&str, &str)]) -> Config {
    let env: Vec<_> =
        [("DATABASE_URL", "postgres://me@db/shop")].iter().chain(env).copied().collect();
    build(toml, &env).expect("this configuration is fine")
}

fn error(toml: &str, env: &[(&str, &str)]) -> String {
    let env: Vec<_> =
        [("DATABASE_URL", "postgres://me@db/shop")].iter().chain(env).copied().collect();
    build(toml, &env).expect_err("this configuration is wrong").to_string()
}

#[test]
fn without_a_word_the_defaults_hold() {
    let config = built("[pipelines.ads]\n[pipelines.orders]\ntopics = [\"orders\"]", &[]);
    assert_eq!(config.memory_bytes, 64 << 20);
    assert_eq!(config.kafka.brokers, "127.0.0.1:9092");
    assert_eq!(config.kafka.commit.interval, Duration::from_secs(5));
    assert_eq!(config.kafka.commit.records, 100_000);
    assert_eq!(config.database.connections, 4);
    assert_eq!(config.http.listen, "127.0.0.1:8080".parse().ok());
    assert_eq!(config.drain_limit, Duration::from_secs(30));
    let ads = &config.pipelines[0];
    assert_eq!((ads.name.as_str(), ads.kind, ads.group.as_str()), ("ads", "ads", "longshore.ads"));
    assert_eq!(ads.topics, ["ads.events"]);
    assert_eq!((ads.order, ads.start), (None, StartPosition::Committed));
    assert_eq!(ads.dead_letter_budget, Some(DeadLetterBudget::default()));
    assert_eq!(config.batch(ads).records, 10_000);
    assert!(config.notes().is_empty(), "defaults are cut in silence: {:?}", config.notes());
}

/// Every TOML block of the page for users.
#[test]
fn the_examples_of_the_documentation_are_right() {
    let page = include_str!("../../docs/configuration.md");
    let blocks = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let configs: Vec<_> = blocks.map(|block| built(block, &[])).collect();
    assert_eq!(configs.len(), 4);
}

#[test]
fn everything_that_can_be_written_is_taken() {
    let toml = r#"
        memory = "64 MiB"
        workers = 3
        drain_limit = "10 s"
        [kafka]
        brokers = ["[::1]:9092", "b:9092"]
        properties = { "security.protocol" = "SASL_SSL" }
        commit = { interval = "1 s", records = 5 }
        [database]
        url = "postgres://user@host/db"
        connections = 2
        statement_timeout = "5 s"
        [pipelines.eu]
        kind = "ads"
        topics = ["ads.events"]
        group = "longshore.ads"
        order = "unordered"
        start = "latest"
        format = "json"
        dead_letter_topic = "ads.events.dead-letter"
        batch = { records = 10_000, bytes = "8 MiB", linger = "50 ms" }
        pace.adapt = false
        pace.transaction = "1 s"
        pace.linger_min = "2 ms"
        pace.records_min = 9
        pace.records_max = 20_000
        pace.connections_min = 2
        dead_letter_budget = { ratio = 0.25, window = 100, per_minute = 600 }
        work = { in_flight = 16, timeout = "2 s" }
        retry = { first = "100 ms", max = "1 h", attempts = 3, lane_records = 5 }
        fates = { "23503" = "retry", 22 = "stop", P0001 = "reject" }
        [http]
        listen = "localhost:0"
    "#;
    let config = build(toml, &[("LONGSHORE_KAFKA__BROKERS", "[::1]:9092,b:9092")]).unwrap();
    assert_eq!((config.workers, config.drain_limit), (3, Duration::from_secs(10)));
    assert_eq!(config.kafka.brokers, "[::1]:9092,b:9092");
    assert_eq!(config.kafka.commit, CommitConfig { interval: Duration::from_secs(1), records: 5 });
    assert_eq!((config.database.connections, config.http.listen.map(|at| at.port())), (2, Some(0)));
    let eu = &config.pipelines[0];
    assert_eq!(
        (eu.kind, eu.start, eu.order),
        ("ads", StartPosition::Latest, Some(Order::Unordered))
    );
    assert_eq!(eu.dead_letter_topic.as_deref(), Some("ads.events.dead-letter"));
    let linger = Bounds { min: Duration::from_millis(2), max: Duration::from_millis(50) };
    let (records, sessions) = (Bounds { min: 9, max: 20_000 }, Bounds { min: 2, max: 2 });
    let target = Duration::from_secs(1);
    assert_eq!(config.pace(eu), PaceRules { adapts: false, target, linger, records, sessions });
    let work = InFlightLimits { records: 16, timeout: Duration::from_secs(2) };
    assert_eq!(eu.work, work);
    let budget = DeadLetterBudget { ratio: 0.25, window: 100, per_minute: 600 };
    assert_eq!(eu.dead_letter_budget, Some(budget));
}

#[test]
fn floors_of_the_pace_are_under_their_ceilings() {
    let of = |toml: &str| format!("[pipelines.ads]\n{toml}");
    let config = built(&of("batch = { records = 100_000, linger = \"0 s\" }"), &[]);
    let pace = config.pace(&config.pipelines[0]);
    assert!(pace.adapts && pace.linger.min == pace.linger.max && pace.records.max == 100_000);
    for (toml, told) in [
        (
            "pace.linger_min = \"51 ms\"",
            "pace.linger_min = \"51 ms\" (longshore.toml): must not be",
        ),
        ("pace.records_max = 9999", "pace.records_max = 9999 (longshore.toml): must not be less"),
        (
            "pace.records_min = 50_001",
            "pace.records_min = 50001 (longshore.toml): must not be more",
        ),
        ("pace.connections_min = 5", "pace.connections_min = 5 (longshore.toml): must not be more"),
        ("pace.transaction = \"1 ms\"", "must be from 5ms to 1m"),
        ("pace.adapt = \"maybe\"", "must be true or false"),
    ] {
        let error = error(&of(toml), &[]);
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let toml = "[kafka]\nbrokers = \"file:1\"";
    let env = [("LONGSHORE_KAFKA__BROKERS", "env:1")];
    assert_eq!(built("", &[]).kafka.brokers, "127.0.0.1:9092");
    assert_eq!(built(toml, &[]).kafka.brokers, "file:1");
    assert_eq!(built(toml, &env).kafka.brokers, "env:1");
    let flag = layers(&format!("{toml}\n{URL}"), &env).unwrap();
    let flag = flag.set(&["kafka", "brokers"], "flag:1", "flag --brokers").build(&KINDS).unwrap();
    assert_eq!(flag.kafka.brokers, "flag:1");
}

#[test]
fn database_url_wins_over_the_file_and_loses_to_our_own_variable() {
    let url = |env: &[_]| build(URL, env).unwrap().database.url.expose().to_owned();
    assert_eq!(url(&[]), "postgres://me@db/shop");
    assert_eq!(url(&[("DATABASE_URL", "postgres://b/b")]), "postgres://b/b");
    let both = [("LONGSHORE_DATABASE__URL", "postgres://c/c"), ("DATABASE_URL", "postgres://b/b")];
    assert_eq!(url(&both), "postgres://c/c");
}

#[test]
fn the_environment_reaches_into_pipelines() {
    let env = [
        ("LONGSHORE_PIPELINES__ADS__BATCH__RECORDS", "500"),
        ("LONGSHORE_PIPELINES__ADS__BATCH__LINGER", "1 s"),
        ("LONGSHORE_PIPELINES__ADS__ORDER", "by_partition"),
        ("LONGSHORE_PIPELINES__ADS__TOPICS", "a, b"),
        ("LONGSHORE_PIPELINES__MY_ORDERS__TOPICS", "[\"c\",\"d\"]"),
        ("LONGSHORE_PIPELINES__MY_ORDERS__DEAD_LETTER_BUDGET", "off"),
        ("longshore_memory", "1 GiB"),
    ];
    let toml = "[pipelines.ads.batch]\nrecords = 7\nbytes = 1000\n\
         [pipelines.my-orders]\nkind = \"orders\"";
    let config = built(toml, &env);
    let (ads, orders) = (&config.pipelines[0], &config.pipelines[1]);
    let linger = Duration::from_secs(1);
    assert_eq!(ads.batch, BatchLimits { records: 500, bytes: 1000, linger });
    assert_eq!(
        (ads.order, &ads.topics[..]),
        (Some(Order::ByPartition), &["a".into(), "b".into()][..])
    );
    assert_eq!(
        (orders.name.as_str(), &orders.topics[..]),
        ("my-orders", &["c".into(), "d".into()][..])
    );
    assert_eq!(orders.dead_letter_budget, None);
    assert_eq!(config.memory_bytes, 1 << 30);
}

#[test]
fn properties_keep_their_dots_whichever_way_they_are_written() {
    let toml = "[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"\nfetch.wait.max.ms = 10\n\
                \"enable.ssl.certificate.verification\" = true\n\"sasl.password\" = \"file\"";
    let env = [("LONGSHORE_KAFKA__PROPERTIES__SASL_PASSWORD", "007")];
    let config = built(toml, &env);
    let properties: Vec<_> = config.kafka.properties.iter().collect();
    let expected = [
        ("enable.ssl.certificate.verification", "true"),
        ("fetch.wait.max.ms", "10"),
        ("sasl.password", "007"),
        ("security.protocol", "SASL_SSL"),
    ];
    assert_eq!(properties, expected);
}

#[test]
fn an_unknown_key_is_named_with_its_source_and_what_there_is() {
    let expected = "kafka.broker (longshore.toml): there is no such key; under kafka there are: \
                    brokers, commit, properties";
    assert_eq!(error("[kafka]\nbroker = \"x\"", &[]), expected);
    let env = [("LONGSHORE_PIPELINES__ADS__BATCH__SIZE", "7")];
    let expected = "pipelines.ads.batch.size (environment variable \
                    LONGSHORE_PIPELINES__ADS__BATCH__SIZE): there is no such key; \
                    under pipelines.ads.batch there are: bytes, linger, records";
    assert_eq!(error("", &env), expected);
    let top = error("", &[("LONGSHORE_MEMRY", "1")]);
    assert!(top.contains("at the top level there are: database, drain_limit, http"), "{top}");
}

#[test]
fn a_wrong_value_is_named_with_its_key_source_and_what_is_right() {
    let cases = [
        (
            "[pipelines.ads.batch]\nlinger = \"50\"",
            "pipelines.ads.batch.linger = \"50\" (longshore.toml): must be a duration with its \
             unit, such as \"50 ms\" or \"1m 30s\"",
        ),
        (
            "memory = \"much\"",
            "memory = \"much\" (longshore.toml): must be a size, such as \"64 MiB\", \
             or a number of bytes",
        ),
        (
            "[pipelines.ads]\norder = \"random\"",
            "pipelines.ads.order = \"random\" (longshore.toml): must be one of: \
             unordered, by_key, by_partition",
        ),
        ("workers = 0", "workers = 0 (longshore.toml): must be from 1 to 1024"),
        ("workers = -1", "workers = -1 (longshore.toml): must be a whole number, 0 or more"),
        ("kafka = 5", "kafka = *** (longshore.toml): must be a table, written [kafka]"),
        (
            "[http]\nlisten = \"8080\"",
            "http.listen = \"8080\" (longshore.toml): must be an address and a port, such as \
             \"127.0.0.1:8080\" or \"[::]:8080\", or \"off\"",
        ),
        (
            "[pipelines.clicks]",
            "pipelines.clicks.kind: \"clicks\" is no kind of pipeline; \
             set it to one of: \"ads\", \"orders\"",
        ),
        (
            "[pipelines.orders]",
            "pipelines.orders.topics: must name the topics to read, such as [\"orders\"]",
        ),
        (
            "[pipelines.ads]\ndead_letter_budget = \"of\"",
            "pipelines.ads.dead_letter_budget = \"of\" (longshore.toml): must be \"off\" or a \
             table with ratio, window and per_minute",
        ),
    ];
    for (toml, expected) in cases {
        assert_eq!(error(toml, &[]), expected);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let told =
        error("workers = 0\n[pipelines.ads]\ngroup = \"\"\ntopics = [\"a b\", \"c\", \"c\"]", &[]);
    assert_eq!(told.lines().count(), 4, "{told}");
}

#[test]
fn keys_that_do_not_fit_together_are_refused() {
    let toml = "memory = \"600 KiB\"\n[pipelines.ads]\n[pipelines.orders]\ntopics = [\"o\"]";
    let expected = "memory = \"600 KiB\" (longshore.toml): 2 pipelines share it, 512.0 KiB each at \
                    least: write \"1.0 MiB\" or more";
    assert_eq!(error(toml, &[]), expected);
    let toml = "[pipelines.a]\nkind = \"ads\"\ngroup = \"g\"\n\
         [pipelines.b]\nkind = \"ads\"\ngroup = \"g\"";
    let expected = "pipelines.b.topics: pipelines.a reads \"ads.events\" in the same group, \"g\"; \
                    give one of them another group";
    assert_eq!(error(toml, &[]), expected);
    let toml = "[pipelines.ads]\ndead_letter_topic = \"ads.events\"";
    assert!(error(toml, &[]).contains("is also among the pipeline's topics"));
}

#[test]
fn a_batch_is_cut_to_half_of_the_tickets_and_said_so() {
    let toml = "memory = \"8 MiB\"\n[pipelines.ads.batch]\nbytes = \"4 MiB\"\n\
                [pipelines.orders]\ntopics = [\"o\"]";
    let config = built(toml, &[]);
    assert_eq!(config.tickets().bytes, 1 << 20);
    assert_eq!(config.batch(&config.pipelines[0]).bytes, 512 << 10);
    assert_eq!(config.batch(&config.pipelines[0]).records, 2048);
    let expected = "pipelines.ads.batch.bytes = \"4.0 MiB\" is cut to \"512.0 KiB\", half of the \
                    pipeline's tickets: memory = \"8.0 MiB\" is shared by 2";
    assert_eq!(config.notes(), [expected]);
    let alone = config.select(&["ads".to_owned()]).unwrap();
    assert_eq!(alone.batch(&alone.pipelines[0]).bytes, 1 << 20);
}

#[test]
fn what_is_run_must_be_configured() {
    let ads = || built("[pipelines.ads]", &[]);
    assert_eq!(ads().select(&[]).unwrap().pipelines.len(), 1);
    let unknown = ads().select(&["adds".to_owned()]).unwrap_err().to_string();
    assert_eq!(unknown, "no pipeline \"adds\" is configured; there are: ads");
    let nothing = built("", &[]).select(&[]).unwrap_err().to_string();
    assert!(nothing.contains("[pipelines.ads]\ntopics = [\"ads.events\"]\n"), "{nothing}");
    assert!(nothing.contains("the kinds of pipelines in this program: ads, orders"));
}

#[test]
fn secrets_are_never_printed() {
    let toml = "[database]\nurl = \"postgres://me:hunter2@db/shop\"\n\
                [kafka.properties]\n\"sasl.password\" = \"hunter2\"\n\"sasl.username\" = \"me\"";
    let config = build(toml, &[]).unwrap();
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(
        printed.contains("postgres://me:***@db/shop")
            && printed.contains("\"sasl.username\": \"me\"")
    );
    assert_eq!(config.kafka.properties.get("sasl.password"), Some("hunter2"));
}

#[test]
fn no_error_shows_a_secret() {
    let wrong = [
        ("[database]\nurl = \"mysql://me:hunter2@db/shop\"", &[][..]),
        ("[database]\nurl = [\"postgres://me:hunter2@db/shop\"]", &[]),
        ("[database]\npassword = \"hunter2\"", &[]),
        ("[database]\nurl = \"postgres://me:hunter2@db", &[]),
        ("[kafka.properties]\n\"sasl.password\" = [\"hunter2\"]", &[]),
        ("", &[("LONGSHORE_DATABASE", "postgres://me:hunter2@db/shop")]),
        ("", &[("LONGSHORE_KAFKA__PROPERTIES", "sasl.password=hunter2")]),
        ("", &[("LONGSHORE_DATABASE__PASSWORD", "hunter2")]),
    ];
    for (toml, env) in wrong {
        let told = build(toml, env).expect_err("this is wrong").to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_password_file_is_read_and_trimmed_and_must_be_the_only_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("password");
    fs::write(&path, "hunter2\n").unwrap();
    let toml = format!("{URL}password_file = {:?}", path.display().to_string());
    let password = build(&toml, &[]).unwrap().database.password.expect("it was read");
    assert_eq!((password.expose(), password.to_string().as_str()), ("hunter2", "***"));
    let told =
        build(&toml, &[("DATABASE_URL", "postgres://me:pw@db/shop")]).unwrap_err().to_string();
    assert!(told.contains("keep one of the two"), "{told}");
    fs::remove_file(&path).unwrap();
    let told = build(&toml, &[]).unwrap_err().to_string();
    let expected =
        format!("database.password_file = {:?} (longshore.toml): cannot be read: ", path);
    assert!(told.starts_with(&expected), "{told}");
}

#[test]
fn the_database_must_be_named() {
    let told = build("", &[]).unwrap_err().to_string();
    assert!(told.starts_with("database.url: must be set, to postgres://user@host/db"), "{told}");
}

#[test]
fn a_named_file_must_be_there_and_be_toml() {
    let told = Layers::new().file(Some(Path::new("nowhere.toml"))).err().unwrap().to_string();
    assert!(told.starts_with("nowhere.toml: cannot be read"), "{told}");
    let told = error("[kafka]\nbrokers = \"a\"\nbrokers = \"b\"", &[]);
    assert!(told.starts_with("longshore.toml: not TOML: line 3, column 1: "), "{told}");
}
