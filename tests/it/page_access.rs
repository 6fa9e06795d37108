//! The page of `othink report` by pointer, by keyboard, on a phone, with what a person prefers, and without scripts.
//! Not here: what it shows (`page`).

use std::time::Instant;

use serde_json::json;

use crate::page::{legend, opened};

#[test]
fn charts_show_values_under_the_pointer_zoom_by_dragging_and_obey_keys() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, _)) = opened(folder.path()) else { return };
    browser.value("document.querySelector('#chart-kl').scrollIntoView({block: 'center', behavior: 'instant'}), 1");
    let inside = "(() => { const box = document.querySelector('#chart-kl .u-over').getBoundingClientRect(); \
                  return [box.left, box.top, box.width, box.height]; })()";
    let place = browser.value(inside);
    let place: Vec<f64> =
        place.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
    let at = |part: f64| [place[0] + part * place[2], place[1] + place[3] / 2.0];
    let legend = legend("kl");
    // Without a pointer, the last figures are shown: 12 updates, from 1 on the left to 12 on the right.
    assert!(browser.text(&legend).contains("update: 12 "), "{}", browser.text(&legend));
    browser.mouse("mouseMoved", at(4.0 / 11.0));
    browser.wait_for(&format!("{legend}.includes('update: 5 ')"));
    let kl = browser.text(&legend);
    // Smoothed with 0.6, debiased: (0.001 * 0.6^4 + 0.002 * 0.6^3 + ... + 0.005) * 0.4 / (1 - 0.6^5).
    let weighted: f64 =
        (1..=5).map(|update| 0.001 * f64::from(update) * 0.6_f64.powi(5 - update)).sum();
    let smoothed = weighted * 0.4 / (1.0 - 0.6_f64.powi(5));
    let shown: f64 = kl.split(' ').rev().find_map(|word| word.parse().ok()).unwrap();
    assert!((shown - smoothed).abs() < 1e-6, "{kl}: {smoothed}");

    // Ticks of the zoomed axis are those of the part that was dragged over; here, what the legend shows at its left end.
    browser.drag(at(0.45), at(0.95));
    browser.mouse("mouseMoved", at(0.01));
    browser.wait_for(&format!("/update: [678] /.test({legend})"));
    // The chart takes keys: 0 shows all again.
    browser.value("document.querySelector('#chart-kl .plot').focus(), 1");
    browser.press("0");
    browser.mouse("mouseMoved", at(0.01));
    browser.wait_for(&format!("{legend}.includes('update: 1 ')"));
    browser.press("ArrowRight");
    browser.wait_for(&format!("{legend}.includes('update: 2 ')"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn keyboard_reaches_everything_and_arrows_move_between_groups() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, _)) = opened(folder.path()) else { return };
    let mut reached = Vec::new();
    for _ in 0..60 {
        browser.press("Tab");
        let focused = browser.text(
            "(() => { const it = document.activeElement, style = getComputedStyle(it); \
             const name = it.id || it.className || it.textContent; \
             return (style.outlineStyle === 'none' || style.outlineWidth === '0px' ? 'UNSEEN ' : '') + name; })()",
        );
        assert!(!focused.starts_with("UNSEEN"), "the focus cannot be seen on {focused}");
        reached.push(focused);
        if reached.last().is_some_and(|name| name == "detail") {
            break;
        }
    }
    let order = [
        "skip", "Summary", "plot", "by-order", "by-show", "from", "cut", "silent", "groups",
        "detail",
    ];
    let places: Vec<_> =
        order.iter().map(|name| reached.iter().position(|reached| reached == name)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {reached:?}");

    let chosen = "document.querySelector('#groups [aria-selected=true] b').textContent + ' ' + \
                  document.getElementById('groups').getAttribute('aria-activedescendant')";
    let mut after = |focus: &str, key: &str| {
        browser.value(&format!("document.getElementById({focus:?}).focus(), 1"));
        browser.press(key);
        browser.text(chosen)
    };
    assert_eq!(after("groups", "ArrowDown"), "update 1 group-1");
    assert_eq!(after("groups", "ArrowUp"), "update 1 group-0");
    assert_eq!(after("groups", "ArrowUp"), "update 1 group-0");
    assert_eq!(after("detail", "ArrowRight"), "update 1 group-1");
    assert_eq!(after("groups", "End"), "update 12 group-35");
    assert_eq!(after("detail", "ArrowLeft"), "update 12 group-34");
    let note = "document.querySelector('#detail .ask div .note').textContent";
    browser.wait_for(&format!("{note}.startsWith('update 12')"));
    let row = "document.querySelector('#groups [aria-selected=true]').getBoundingClientRect()";
    let list = "document.getElementById('groups').getBoundingClientRect()";
    let is_seen = format!("{row}.bottom <= {list}.bottom + 1 && {row}.top >= {list}.top - 1");
    assert_eq!(browser.value(&is_seen), true, "the chosen group is scrolled into view");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn page_fits_a_phone_and_follows_what_a_person_prefers() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, _)) = opened(folder.path()) else { return };
    for width in [390, 320] {
        browser.resize(width, 844);
        browser.wait_for("document.querySelectorAll('.completion').length >= 4");
        // Neither can the page be scrolled sideways, nor is anything cut off at its right edge.
        let fits = format!(
            "document.documentElement.scrollWidth <= {width} && \
             [...document.querySelectorAll('main *')].every((it) => it.closest('.scroll, .u-over, .u-legend, option') || \
             it.getBoundingClientRect().right <= {width} + 1)"
        );
        browser.wait_for(&fits);
        // Neither does it where everything is unfolded.
        browser
            .value("document.querySelectorAll('details').forEach((it) => { it.open = true; }), 1");
        assert_eq!(browser.value(&fits), true, "at {width} with everything unfolded");
    }
    let paper = "getComputedStyle(document.body).backgroundColor";
    let ink = "document.querySelector('#chart-kl canvas').toDataURL()";
    let light = (browser.text(paper), browser.text(ink));
    browser.prefer("prefers-color-scheme", "dark");
    browser.wait_for(&format!("{paper} !== {:?}", light.0));
    browser.wait_for(&format!("{ink} !== {:?}", light.1));
    browser.prefer("prefers-reduced-motion", "reduce");
    assert_eq!(browser.text("getComputedStyle(document.documentElement).scrollBehavior"), "auto");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn page_says_so_where_scripts_are_off() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, _)) = opened(folder.path()) else { return };
    browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    browser.call("Page.reload", json!({}));
    let started = Instant::now();
    loop {
        let said = browser.value("document.querySelector('noscript')?.innerText ?? ''");
        if said.as_str().is_some_and(|text| text.contains("scripts are off here")) {
            break;
        }
        assert!(started.elapsed().as_secs() < 60, "{said}");
    }
}
