//! How large the page of `othink report` becomes, and pictures of it.
//! Not here: what it shows (`page`).

#![expect(clippy::print_stdout, reason = "sizes and times are read by people")]

use std::path::PathBuf;
use std::time::Instant;

use crate::chromium::Chromium;
use crate::page::{address, found, report, set};
use crate::recorded::{self, Size};

/// A hundred thousand completions of about 50 words: prints how large the page is, and how long it takes to make and to open.
#[test]
fn page_of_a_hundred_thousand_rollouts_is_bounded_and_usable() {
    let folder = tempfile::tempdir().unwrap();
    let size = Size { updates: 1250, prompts: 10, completions: 8, rows: 3000, words: 50 };
    let (run, rollouts) = recorded::run(&folder.path().join("large"), 1, size);
    assert_eq!(rollouts.len(), 100_000);
    drop(rollouts);
    let recorded_mb = run.join("completions.jsonl").metadata().unwrap().len() as f64 / 1e6;
    let started = Instant::now();
    let page = report(folder.path(), &["large"]);
    let seconds = started.elapsed().as_secs_f64();
    let mb = page.metadata().unwrap().len() as f64 / 1e6;
    println!(
        "100,000 rollouts, {recorded_mb:.0} MB of records: a page of {mb:.1} MB, made in {seconds:.1} s"
    );
    assert!(mb < 25.0, "{mb} MB");
    let Some(mut browser) = Chromium::start() else { return };
    let opened = browser.open(&address(&page)).as_secs_f64();
    let filtered = browser.value(
        "(() => { const begin = performance.now(); const it = document.getElementById('by-show'); it.value = 'mixed'; \
         it.dispatchEvent(new Event('change')); return performance.now() - begin; })()",
    );
    let filtered = filtered.as_f64().unwrap();
    println!("opened in {opened:.1} s, a filter takes {filtered:.0} ms");
    assert!(opened < 20.0 && filtered < 2000.0, "{opened} s, {filtered} ms");
    // A chunk far away is unpacked where a group of it is looked at.
    set(&mut browser, "by-show", "any");
    browser.value("document.getElementById('groups').focus(), 1");
    browser.press("End");
    browser.wait_for("document.querySelector('#detail .ask div .note')?.textContent.startsWith('update 1250') ?? false");
    assert_eq!(found(&mut browser), "12,500 groups with 100,000 completions");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Pictures of the page for the documents: `OTHINK_SCREENSHOTS=FOLDER OTHINK_SCREENSHOTS_RUN=RUN`, of a run that was made.
#[test]
fn screenshots_are_made_where_asked_for() {
    let [Some(out), Some(run)] =
        ["OTHINK_SCREENSHOTS", "OTHINK_SCREENSHOTS_RUN"].map(std::env::var_os)
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<String> = std::env::split_paths(&run)
        .map(|run| std::path::absolute(run).unwrap().display().to_string())
        .collect();
    let words: Vec<&str> = runs.iter().map(String::as_str).collect();
    let page = report(folder.path(), &words);
    let Some(mut browser) = Chromium::start() else { return };
    browser.open(&address(&page));
    let out = PathBuf::from(out);
    // Of the top of the page where nothing has the name of the place.
    let mut shoot = |name: &str, scheme: &str, size: (u32, u32), place: &str| {
        browser.resize(size.0, size.1);
        browser.prefer("prefers-color-scheme", scheme);
        let show =
            format!("document.querySelector('{place}')?.scrollIntoView({{behavior: 'instant'}})");
        browser.value(&format!("scrollTo({{top: 0, behavior: 'instant'}}), {show}, 1"));
        std::thread::sleep(std::time::Duration::from_millis(500));
        std::fs::write(out.join(name), browser.screenshot()).unwrap();
    };
    shoot("report.png", "light", (1200, 860), "top");
    shoot("report-phone.png", "light", (390, 844), "top");
    shoot("report-rollouts.png", "dark", (1200, 680), "#rollouts");
}
