//! `/api/status` says in JSON what a service does, as `docs/http.md` describes it, and the page
//! shows it without anything from elsewhere.

mod support;

use serde_json::Value;
use support::http::Http;
use support::records::Mix;
use support::stage::Stage;
use support::wait;

/// Those on the way of a record.
const ACTORS: [&str; 5] =
    ["PartitionActor", "ContextLoader", "WorkerPool", "WorkerActor", "PersisterActor"];

#[test]
fn pipelines_partitions_actors_and_counters_are_there() {
    let Some(stage) = Stage::set(2) else { return };
    let sent = stage.send(74, Mix::USUAL, 1000);
    let mut process = stage.service().start(&["run"]);
    let http = Http::of(&mut process);
    http.await_ready();
    stage.await_end(&mut process);
    wait::until("the status knows it", || {
        let status = http.get("/api/status").json();
        let actors = status["actors"].as_array().expect("actors");
        let is_heard_of = |actor: &&str| actors.iter().any(|one| one["actor"] == *actor);
        status["pipelines"][0]["lag"] == 0 && ACTORS.iter().all(is_heard_of)
    });
    let status = http.get("/api/status").json();
    let pipeline = &status["pipelines"][0];
    assert_eq!(pipeline["name"], "ads");
    assert_eq!(pipeline["state"], "running");
    assert_eq!(pipeline["topics"], serde_json::json!([stage.topic.name]));
    assert_eq!(pipeline["group"], stage.group.as_str());
    assert_eq!(status["counters"]["read"], sent.len());
    assert_eq!(status["counters"]["in_flight"], 0);
    assert!(status["rebalances"]["assigned"].as_u64() > Some(0), "{status}");
    partitions_are_at_their_end(&stage, &status);
    actors_rest(&status);
    process.terminate().expect_code(0);
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let Some(stage) = Stage::set(1) else { return };
    let mut process = stage.service().start(&["run"]);
    let http = Http::of(&mut process);
    let page = http.get("/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html"), "{}", page.head);
    for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.body.contains(elsewhere), "the page has {elsewhere}");
    }
    let lost = http.get("/nothing");
    assert_eq!(lost.status, 404);
    assert!(lost.body.contains("/health/live"), "{}", lost.body);
    process.terminate().expect_code(0);
}

fn partitions_are_at_their_end(stage: &Stage, status: &Value) {
    let partitions = status["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 2, "{status}");
    for (index, end) in stage.topic.ends() {
        let shown = &partitions[index as usize];
        assert_eq!(shown["partition"], index);
        assert_eq!(shown["topic"], stage.topic.name.as_str());
        assert_eq!(shown["state"], "reading");
        for place in ["position", "stored", "end"] {
            assert_eq!(shown[place], end, "{place}: {shown}");
        }
        assert_eq!(shown["counters"]["read"], end, "{shown}");
    }
}

fn actors_rest(status: &Value) {
    let actors = status["actors"].as_array().expect("actors");
    for actor in ACTORS {
        let found = actors.iter().find(|one| one["actor"] == actor).expect(actor);
        assert_eq!(found["pipeline"], "ads");
        assert!(found["last_progress_ms"].is_u64() && found["in_hand"].is_u64(), "{found}");
        assert!(["idle", "working"].map(Value::from).contains(&found["state"]), "{found}");
    }
    let name = |actor: &Value| actor["name"].as_str().unwrap_or_default().to_owned();
    assert!(actors.iter().any(|actor| name(actor).ends_with("[1]")), "{actors:?}");
}
