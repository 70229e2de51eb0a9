//! What is written in a spec, and what is refused.

use wasmbed_plan::rollout::{BadSpec, OnAbort, Spec, Step};

use crate::world::{NEW, spec};

#[test]
fn a_short_spec_is_filled_in() {
    let json = format!(
        r#"{{"firmware":{{"name":"pump-fw","version":"2.0.0","image":"{NEW}","size_bytes":1000}},
            "windows":["mon-fri 22:00-04:00"]}}"#
    );
    let spec: Spec = serde_json::from_str(&json).unwrap();
    spec.check().unwrap();
    assert_eq!(spec.groups, [Step::Canary(1), Step::Percent(10), Step::Rest]);
    assert_eq!(spec.success_percent, 100);
    assert_eq!(spec.abort_canary_failures, Some(1));
    assert_eq!(spec.abort_percent, 20);
    assert_eq!(spec.on_abort, OnAbort::Stop);
    let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}

#[test]
fn a_misspelt_field_is_refused() {
    let mut json = serde_json::to_value(spec(&["rest"])).unwrap();
    json["at-once"] = 3.into();
    assert!(serde_json::from_value::<Spec>(json).unwrap_err().to_string().contains("at-once"));
}

#[test]
fn groups_must_begin_with_the_canaries_rise_and_cover_all_devices() {
    let check = |groups: &[&str]| spec(groups).check();
    for groups in [&["rest"][..], &["100%"], &["canary:3", "rest"], &["canary:1", "5%", "50%", "100%"]] {
        check(groups).unwrap();
    }
    assert_eq!(check(&[]), Err(BadSpec::NoGroups));
    assert_eq!(check(&["canary:0", "rest"]), Err(BadSpec::Canary(1)));
    assert_eq!(check(&["10%", "canary:1", "rest"]), Err(BadSpec::Canary(2)));
    assert_eq!(check(&["50%", "50%", "rest"]), Err(BadSpec::Percent { group: 2, percent: 50, before: 50 }));
    assert_eq!(check(&["0%", "rest"]), Err(BadSpec::Percent { group: 1, percent: 0, before: 0 }));
    assert_eq!(check(&["101%"]), Err(BadSpec::Percent { group: 1, percent: 101, before: 0 }));
    assert_eq!(check(&["rest", "100%"]), Err(BadSpec::AfterRest(2)));
    assert_eq!(check(&["canary:1", "50%"]), Err(BadSpec::Uncovered));
}

#[test]
fn numbers_that_would_stop_everything_are_refused() {
    let check = |edit: fn(&mut Spec)| {
        let mut spec = spec(&["rest"]);
        edit(&mut spec);
        spec.check().unwrap_err().to_string()
    };
    assert_eq!(check(|spec| spec.at_once = 0), "at_once is 0; it must be at least 1");
    assert_eq!(check(|spec| spec.bytes_per_second = Some(0)), "bytes_per_second is 0; it must be at least 1");
    assert_eq!(check(|spec| spec.device_timeout_ms = 0), "device_timeout_ms is 0; it must be at least 1");
    assert_eq!(check(|spec| spec.abort_failures = Some(0)), "abort_failures is 0; it must be at least 1");
    assert_eq!(check(|spec| spec.success_percent = 101), "success_percent is 101 %; it must be 0 to 100");
    assert_eq!(check(|spec| spec.abort_percent = 0), "abort_percent is 0 %; it must be 1 to 100");
}

#[test]
fn other_texts_are_no_groups() {
    for text in ["", "canary", "canary:", "canary:-1", "10", "%", "all", "256%"] {
        assert!(text.parse::<Step>().is_err(), "{text}");
    }
}
