//! The command line: what it accepts, and the exit status of what it does not.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn context(environment: &[(&str, &str)]) -> Context {
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    Context {
        pipelines: crate::pipelines![crate::pipelines::ads::Ads],
        config_file: None,
        environment,
    }
}

fn dispatched(line: &str, environment: &[(&str, &str)]) -> CommandError {
    let cli = parse(line).expect("a line that is understood");
    dispatch(&context(environment), &cli.command).expect_err("a configuration that cannot be run")
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_this_release_is_understood() {
    let lines = [
        "longshore run",
        "longshore run ads payments --until-end --migrate",
        "longshore --config a.toml run --brokers a:1 --database-url postgres://h/d",
        "longshore check --json --log-format json --config a.toml",
        "longshore migrate --dry-run",
        "longshore offsets show --json",
        "longshore offsets show ads --database-url postgres://h/d",
        "longshore bench payments --scale partitions --values 1,64 --set a.b=c --json",
        "longshore demo --records 10 --listen 127.0.0.1:0 --brokers a:1",
    ];
    for line in lines {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    for (line, status) in [
        ("longshore", 2),
        ("longshore fly", 2),
        ("longshore demo --records 0", 2),
        ("longshore --help", 0),
        ("longshore run --help", 0),
        ("longshore --version", 0),
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), status, "{line}");
    }
}

#[test]
fn a_wrong_configuration_ends_with_2() {
    let url = ("DATABASE_URL", "postgres://h/d");
    let no_url = dispatched("longshore migrate", &[]);
    let nothing_to_run = dispatched("longshore run", &[url]);
    let unknown =
        dispatched("longshore run adds", &[url, ("LONGSHORE_PIPELINES__ADS__GROUP", "g")]);
    for error in [no_url, nothing_to_run, unknown] {
        assert_eq!(error.exit_status(), 2, "{error}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_is_named_in_errors() {
    let line = "longshore migrate --database-url mysql://me:pw@h/d";
    let error = dispatched(line, &[("DATABASE_URL", "postgres://h/d")]);
    let expected = "database.url = \"mysql://me:***@h/d\" (flag --database-url): \
                    must begin with postgres:// or postgresql://";
    assert_eq!((error.text().as_str(), error.exit_status()), (expected, 2));
}

#[test]
fn the_demo_does_not_look_at_the_environment() {
    let context = context(&[("LONGSHORE_NO_SUCH_KEY", "1"), ("DATABASE_URL", "postgres://h/d")]);
    let Command::Demo(args) = parse("longshore demo").unwrap().command else { unreachable!() };
    let embedded = context::Overrides {
        brokers: Some("127.0.0.1:1".to_owned()),
        database_url: Some(crate::config::Secret::url("postgres://demo@127.0.0.1/demo")),
    };
    let config = demo::configure(&context, &args, &embedded).expect("a demo's configuration");
    assert_eq!(config.database.url.expose(), "postgres://demo@127.0.0.1/demo");
}

#[test]
fn a_failure_is_told_with_its_causes_once_each() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot save")]
    struct Quiet(#[source] Loud);
    #[derive(Debug, thiserror::Error)]
    #[error("the pool failed: {0}")]
    struct Loud(#[source] std::io::Error);
    let error = CommandError::failed(Quiet(Loud(std::io::Error::other("connection refused"))));
    assert_eq!(error.text(), "cannot save: the pool failed: connection refused");
}

#[test]
fn a_variable_stands_for_a_flag_that_is_not_given() {
    let format = |line: &str, value: &str| {
        let context = context(&[("LONGSHORE_LOG_FORMAT", value)]);
        log_format(&parse(line).unwrap(), &context).map_err(|error| error.text())
    };
    assert_eq!(format("longshore run", ""), Ok(LogFormat::Text));
    assert_eq!(format("longshore run", "json"), Ok(LogFormat::Json));
    assert_eq!(format("longshore run --log-format text", "json"), Ok(LogFormat::Text));
    assert_eq!(
        format("longshore run", "xml").unwrap_err(),
        "environment variable LONGSHORE_LOG_FORMAT = \"xml\": must be text or json"
    );
}

#[test]
fn a_flag_with_a_password_is_not_printed_by_debug() {
    let cli = parse("longshore run --database-url postgres://me:hunter2@h/d").unwrap();
    let printed = format!("{cli:?}");
    assert!(printed.contains("postgres://me:***@h/d") && !printed.contains("hunter2"), "{printed}");
}
