//! TLS against a real server: `LONGSHORE_TEST_TLS_URL` names one by `localhost`, and
//! `LONGSHORE_TEST_TLS_ROOT` the certificate that signed its own.

use std::time::Duration;

use longshore::postgres::connect::{ConnectOptions, SessionSettings};
use tokio::runtime::Handle;

/// The protocol that the server says it speaks with us, or why it does not.
async fn protocol(url: &str) -> Result<String, String> {
    let options = ConnectOptions::try_new(url, None).map_err(|error| error.to_string())?;
    let settings = SessionSettings::with_statement_timeout(Duration::from_secs(5));
    let connected = options.connect(&settings, &Handle::current()).await;
    let (client, _) = connected.map_err(|error| format!("{error:?}"))?;
    let ssl = "select coalesce(version, 'none') from pg_stat_ssl where pid = pg_backend_pid()";
    Ok(client.query_one(ssl, &[]).await.map_err(|error| error.to_string())?.get(0))
}

#[actix::test]
async fn sslmode_means_what_it_means_to_libpq() {
    #[allow(clippy::disallowed_methods)] // Not configuration of the product.
    let variables =
        (std::env::var("LONGSHORE_TEST_TLS_URL"), std::env::var("LONGSHORE_TEST_TLS_ROOT"));
    let (Ok(url), Ok(root)) = variables else {
        println!("left out: LONGSHORE_TEST_TLS_URL is not set");
        return;
    };
    let by_address = url.replace("localhost", "127.0.0.1");
    let with = |url: &str, mode: &str| format!("{url}?sslmode={mode}&sslrootcert={root}");
    assert_eq!(protocol(&format!("{url}?sslmode=disable")).await.as_deref(), Ok("none"));
    for url in [format!("{url}?sslmode=prefer"), format!("{url}?sslmode=require"), url.clone()] {
        assert_eq!(protocol(&url).await.as_deref(), Ok("TLSv1.3"), "{url}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(protocol(&with(&url, mode)).await.as_deref(), Ok("TLSv1.3"), "{mode}");
        // The system's roots have not signed it.
        let unknown = protocol(&format!("{url}?sslmode={mode}")).await;
        assert_eq!(unknown.is_ok(), mode == "require", "{mode}: {unknown:?}");
    }
    assert_eq!(protocol(&with(&by_address, "verify-ca")).await.as_deref(), Ok("TLSv1.3"));
    let wrong_name = protocol(&with(&by_address, "verify-full")).await.unwrap_err();
    assert!(wrong_name.contains("NotValidForName"), "{wrong_name}");
}
