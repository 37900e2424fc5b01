//! Allocations of the turns of the event loop in which a configuration with thousands of services is
//! replaced. Its threads compile what they can; the rest is the loop's.

use allocation_counter::{AllocationInfo, measure};
use tollgate::proxy::settings::Settings;
use tollgate::proxy::{Prepared, Proxy};
use tollgate::time::Instant;

const SERVICES: usize = 5000;
/// Upper bound of the allocations and releases of the turn that replaces the rules, for each
/// service: its rules, the list of its destinations, and for every second one the path that is
/// another now. To give the rules of before back takes 25 more at most.
const SWAP: u64 = 4;
/// Upper bound of the releases of a turn that gives a piece of the rules of before back.
const PIECE: u64 = 256 * 26;

/// Returns the settings of 5,000 services, of which every second one has another target in `two`.
fn settings(name: &str) -> Settings {
    let service = |number: usize| {
        let target = match number % 2 {
            0 => format!("127.0.0.{}:{}", number % 200 + 1, 20_000 + number),
            _ => format!("127.0.0.1:9000/{name}"),
        };
        format!("{{ \"route\": \"/service-{number}\", \"target\": \"http://{target}\" }}")
    };
    let services = (0..SERVICES).map(service).collect::<Vec<_>>().join(",");
    let text = format!("{{ \"services\": [ {services} ] }}");
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    match tollgate::config::load(text.as_bytes(), "budgets.json", &|_| None, &read) {
        Ok(config) => config.settings,
        Err(errors) => panic!("{errors:?}"),
    }
}

/// Upper bound of the heap bytes of each of 5,000 services with one target, in the configuration and
/// the engine together. 1,182 were measured on 30 November 2026, free room of tables included.
const SERVICE: i64 = 1200;

#[test]
fn what_many_services_have_in_common_is_kept_once() {
    let service =
        |number| format!(r#"{{ "route": "/r{number}", "target": "http://127.0.0.1:9000" }}"#);
    let services = (0..SERVICES).map(service).collect::<Vec<_>>().join(",");
    let text = format!("{{ \"services\": [ {services} ] }}");
    let mut kept = None;
    let held = measure(|| {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let loaded = tollgate::config::load(text.as_bytes(), "budgets.json", &|_| None, &read);
        let config = loaded.expect("a configuration");
        let proxy = Proxy::new(config.settings.clone(), 7);
        kept = Some((config, proxy));
    });
    let each = held.bytes_current / SERVICES as i64;
    assert!(each <= SERVICE, "a service holds {each} bytes");
    assert!(each > SERVICE / 2, "{each}: the budget can be smaller");
    assert!(kept.is_some());
}

fn released(turn: &AllocationInfo) -> u64 {
    turn.count_total.saturating_add_signed(-turn.count_current)
}

#[test]
fn no_turn_of_a_reload_does_all_of_its_work() {
    let mut proxy = Proxy::new(settings("one"), 7);
    let now = Instant::from_millis(1000);
    for name in ["two", "one", "two"] {
        let prepared = Prepared::from(settings(name));
        let swap = measure(|| {
            let replaced = proxy.handle_settings(prepared, now);
            assert!(replaced.is_ok(), "no request holds an edition");
        });
        let work = swap.count_total + released(&swap);
        assert!(
            work <= SWAP * SERVICES as u64,
            "the swap allocates and releases {work} times"
        );
        let mut pieces = 0;
        while proxy.poll_timeout().is_some_and(|due| due <= now) {
            let turn = measure(|| proxy.handle_timeout(now));
            let released = released(&turn);
            assert!(released <= PIECE, "a piece releases {released} times");
            pieces += 1;
            assert!(pieces <= SERVICES, "the pieces end");
        }
        assert!(pieces >= 10, "{pieces} pieces");
    }
}
