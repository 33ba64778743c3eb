use super::*;

#[test]
fn times_are_told_with_their_percentiles_in_microseconds() {
    let mut times = Times::new();
    assert_eq!(times.latency(), None);
    for millis in 1..=1000 {
        times.record(Duration::from_millis(millis));
    }
    let Latency { min, mean, p50, p95, p99, p99_9, max } = times.latency().unwrap();
    for (found, expected) in [(min, 1e3), (mean, 500.5e3), (p50, 500e3), (p95, 950e3), (p99, 990e3), (p99_9, 999e3), (max, 1e6)] {
        assert!((found / expected - 1.0).abs() < 0.002, "{found} is not {expected}");
    }
    let mut more = Times::new();
    more.record(Duration::ZERO);
    more.record(Duration::from_hours(2));
    times.add(&more);
    assert_eq!(times.count(), 1002);
}

#[test]
fn numbers_are_told_with_the_digits_that_say_something() {
    for (micros, told) in [(0.25, "0.25 µs"), (12.34, "12.3 µs"), (999.0, "999 µs"), (1500.0, "1.50 ms"), (2.5e6, "2.50 s")] {
        assert_eq!(time(micros), told);
    }
}

#[test]
fn a_report_says_what_it_is_told_and_nothing_else() {
    let mut paper = Paper::new("a <script> & a | bar");
    paper.text("1 * 2 * 3, `code` _under_ [a](b)\n# no heading");
    paper.table(&["na|me", "value"], [vec!["<b>".to_owned(), "1|2".to_owned()]]);
    let group = |name: &str| name.to_owned();
    let kinds = vec![("p<50>".to_owned(), vec![Some(1.0), None]), ("p99".to_owned(), vec![Some(1000.0), Some(f64::NAN)])];
    paper.chart(Chart { title: "times".to_owned(), groups: vec![group("16 B"), group("1 KiB")], kinds });
    paper.chart(Chart { title: "nothing".to_owned(), groups: Vec::new(), kinds: Vec::new() });
    let (markdown, html) = (paper.markdown(), paper.html());
    assert!(markdown.contains("| na\\|me | value |\n| --- | --- |\n| \\<b\\> | 1\\|2 |"), "{markdown}");
    assert!(!markdown.contains("svg"));
    assert!(html.contains("<td>&lt;b&gt;</td><td>1|2</td>") && html.contains("1 * 2 * 3, `code` _under_ [a](b) # no heading"), "{html}");
    assert!(html.contains("<title>a &lt;script&gt; &amp; a | bar</title>"), "{html}");
    assert_eq!((html.matches("<svg").count(), html.matches("<script").count(), html.matches("NaN").count()), (1, 0, 0), "{html}");
    for shown in ["16 B", "1 KiB", "p99", "p&lt;50&gt;"] {
        assert!(html.contains(shown), "{shown}: {html}");
    }
}

#[test]
fn the_newest_results_are_those_of_the_latest_time() {
    let folder = tempfile::tempdir().unwrap();
    assert!(newest(folder.path(), "bench").is_err());
    for name in
        ["bench-20261129T100000Z-quick.json", "bench-20261129T110000Z-quick.json", "bench-20261129T120000Z-quick.md", "stress-9.json"]
    {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(newest(folder.path(), "bench").unwrap(), folder.path().join("bench-20261129T110000Z-quick.json"));
}
