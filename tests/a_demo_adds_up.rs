//! A demo adds up: on brokers and a database of the user's, which have nothing of it yet, and once
//! more on what it has left there.

mod support;

use support::stage::Stage;
use support::topics::Topic;

#[test]
fn a_demo_makes_its_topics_and_tables_and_may_be_run_again() {
    let Some(stage) = Stage::empty(1, &[]) else { return };
    let topics = ["longshore.demo.ads.events", "longshore.demo.payments.transfers"];
    let topics = topics.map(|name| Topic::named(&stage.servers.brokers, name.to_owned()));
    for topic in topics.iter().filter(|topic| topic.partitions() > 0) {
        topic.delete();
    }
    let (brokers, url) = (&*stage.servers.brokers, &*stage.database.url);
    let servers = ["--brokers", brokers, "--database-url", url, "--listen", "off"];
    for _ in 0..2 {
        let demo = [&["demo", "--records", "3000"][..], &servers].concat();
        let finished = stage.bare_service().start_without_config(&demo).wait().expect_code(0);
        finished.expect_word("every one of 3000 records is accounted for");
    }
}
