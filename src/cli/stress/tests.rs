use super::*;
use prices::MONTH;

#[test]
fn scenarios_of_the_package_are_read_in_both_forms() {
    let yaml = "name: night\nduration_s: 600\nwrites_per_second: 0.5\nrow_size_bytes: 1024\nflush_interval_s: 30\nkeep_previous: false\n";
    let json = r#"{"name": "night", "duration_s": 600.0, "writes_per_second": 0.5, "row_size_bytes": 1024, "flush_interval_s": 30,
                   "keep_previous": false, "cpu_profile": false, "memory_profile": false}"#;
    let scenario = Scenario::parse(yaml).unwrap();
    assert_eq!(Scenario::parse(json).unwrap(), scenario);
    assert_eq!((estimate::rows(&scenario), scenario.keep_previous), (300, false));
    for known in Scenario::known() {
        assert_eq!(Scenario::parse(&serde_json::to_string(&known).unwrap()).unwrap(), known, "each is within the bounds of a file");
    }
}

#[test]
fn a_bill_costs_what_the_tables_say() {
    let bill = Bill { class_a: 2e6, class_b: 20e6, free: 5.0, stored_bytes: 20e9, seconds: MONTH, ..Bill::default() };
    let r2 = bill.cost(Prices::R2);
    assert!((r2.run - (9.0 + 7.2 + 0.3)).abs() < 1e-9 && (r2.month - r2.run).abs() < 1e-9, "{r2:?}");
    assert!((r2.month_after_free - (4.5 + 3.6 + 0.15)).abs() < 1e-9, "{r2:?}");
    let s3 = bill.cost(Prices::S3);
    assert!((s3.run - (10.0 + 8.0 + 0.46)).abs() < 1e-9 && (s3.month_after_free - s3.month).abs() < 1e-9, "{s3:?}");
    // A tenth of the time is a tenth of the requests in it.
    let tenth = Bill { class_a: 2e5, class_b: 2e6, seconds: MONTH / 10.0, ..bill };
    assert!((tenth.cost(Prices::R2).month - r2.month).abs() < 1e-9);
    assert!((tenth.cost(Prices::R2).run - r2.run / 10.0).abs() < 1e-9);
    // What comes with the opening comes once.
    let opened = Bill { class_a: 2e5 + 30.0, once_class_a: 30.0, ..tenth };
    assert!((opened.month().class_a - (2e6 + 30.0)).abs() < 1e-6);
}

#[test]
fn the_safe_scenario_is_within_what_is_free_for_a_month() {
    let [_, safe, _] = Scenario::known();
    let cost = estimate::bill(&safe, Mode::Snapshot).cost(Prices::R2);
    assert!(cost.month_after_free <= 0.0, "{cost:?}");
}
