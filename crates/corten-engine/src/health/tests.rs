//! The state machine of health checks, driven by a clock that the tests turn.

use super::*;

fn at(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(1000 + seconds), wall_ns: u128::from(seconds) * 1_000_000_000 }
}

fn check() -> Check {
    Check {
        command: vec!["check".to_owned()],
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(2),
        retries: 2,
    }
}

fn exited(code: u8) -> End {
    End::Exited { code, output: format!("code {code}") }
}

/// When it is due, in seconds after the start.
fn due(health: &Health) -> Option<u64> {
    health.due().map(|due| due.as_secs() - 1000)
}

/// A probe at this second that ends in the same one.
fn probe(health: &mut Health, second: u64, code: u8) -> Option<Status> {
    assert_eq!(due(health), Some(second));
    assert_eq!(health.tick(at(second - 1)), None, "too early");
    assert_eq!(health.tick(at(second)), Some(Action::Probe));
    health.ended(exited(code), at(second))
}

#[test]
fn failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
    let mut health = Health::new(check(), at(0));
    assert_eq!(health.shown().status, Status::Starting);
    assert_eq!(probe(&mut health, 10, 1), None);
    assert_eq!(probe(&mut health, 20, 0), Some(Status::Healthy));
    assert_eq!(probe(&mut health, 30, 1), None);
    assert_eq!(probe(&mut health, 40, 0), None, "the streak ends");
    assert_eq!(probe(&mut health, 50, 1), None);
    assert_eq!((health.shown().failing_streak, health.shown().status), (1, Status::Healthy));
    assert_eq!(probe(&mut health, 60, 127), Some(Status::Unhealthy));
    assert_eq!(probe(&mut health, 70, 1), None);
    assert_eq!(health.shown().failing_streak, 3);
    assert_eq!(probe(&mut health, 80, 0), Some(Status::Healthy));
    assert_eq!(health.shown().failing_streak, 0);
}

#[test]
fn without_any_success_it_turns_from_starting_to_unhealthy() {
    let mut health = Health::new(check(), at(0));
    assert_eq!(probe(&mut health, 10, 1), None);
    assert_eq!(probe(&mut health, 20, 1), Some(Status::Unhealthy));
}

#[test]
fn in_the_start_period_probes_are_closer_and_failures_do_not_count() {
    let period = Check { start_period: Duration::from_secs(7), ..check() };
    let mut health = Health::new(period.clone(), at(0));
    for second in [2, 4, 6] {
        assert_eq!(probe(&mut health, second, 1), None);
        assert_eq!(health.shown().failing_streak, 0);
    }
    // The period is over when this one begins.
    assert_eq!(probe(&mut health, 8, 1), None);
    assert_eq!(health.shown().failing_streak, 1);
    assert_eq!(probe(&mut health, 18, 1), Some(Status::Unhealthy));
    // After a success the period is over, whatever the time.
    let mut health = Health::new(period, at(0));
    assert_eq!(probe(&mut health, 2, 0), Some(Status::Healthy));
    assert_eq!(due(&health), Some(12));
    assert_eq!(health.tick(at(12)), Some(Action::Probe));
    assert_eq!(health.ended(exited(1), at(12)), None);
    assert_eq!(health.shown().failing_streak, 1);
}

#[test]
fn a_probe_that_takes_too_long_is_killed_once_and_has_failed() {
    let mut health = Health::new(check(), at(0));
    assert_eq!(health.tick(at(10)), Some(Action::Probe));
    assert_eq!((health.tick(at(12)), due(&health)), (None, Some(13)));
    assert_eq!(health.tick(at(13)), Some(Action::Kill));
    assert_eq!((health.tick(at(100)), due(&health)), (None, None), "its end is waited for");
    // Even if it has exited with success in the same moment.
    assert_eq!(health.ended(exited(0), at(14)), None);
    let [probe] = health.shown().log.iter().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((probe.exit_code, probe.start_ns, probe.end_ns), (-1, 10_000_000_000, 14_000_000_000));
    assert_eq!(probe.output, "Health check exceeded timeout (3s): code 0");
    // The interval begins with the end.
    assert_eq!(due(&health), Some(24));
}

#[test]
fn what_is_put_off_waits_for_an_interval_and_has_no_result() {
    let mut health = Health::new(check(), at(0));
    assert_eq!(health.tick(at(10)), Some(Action::Probe));
    health.put_off(at(10));
    assert_eq!((due(&health), health.tick(at(19))), (Some(20), None));
    // In the middle of a probe: that has no result, even if it is on its way.
    assert_eq!(health.tick(at(20)), Some(Action::Probe));
    assert_eq!(health.tick(at(23)), Some(Action::Kill));
    health.put_off(at(23));
    assert_eq!((health.ended(exited(1), at(24)), due(&health)), (None, Some(33)));
    assert!(health.shown().log.is_empty());
    assert_eq!(health.shown().status, Status::Starting);
}

#[test]
fn who_takes_over_goes_on_from_the_last_probe() {
    let mut before = Health::new(check(), at(0));
    assert_eq!(probe(&mut before, 10, 0), Some(Status::Healthy));
    assert_eq!(probe(&mut before, 20, 1), None);
    let of = |check: Check, shown: &Shown, idle, second| {
        Health::resumed(check, shown.clone(), at(0).monotonic, Duration::from_secs(idle), at(second))
    };
    let mut health = of(check(), before.shown(), 4, 24);
    assert_eq!(probe(&mut health, 30, 1), Some(Status::Unhealthy), "the streak goes on");
    assert_eq!(due(&of(check(), before.shown(), 500, 520)), Some(520), "what is overdue is due");
    // The start period is the container's.
    let period = Check { start_period: Duration::from_secs(7), ..check() };
    let fresh = Health::new(period.clone(), at(0));
    assert_eq!(due(&of(period.clone(), fresh.shown(), 1, 5)), Some(6));
    assert_eq!(due(&of(period, fresh.shown(), 1, 8)), Some(17));
}

#[test]
fn what_could_not_be_started_has_failed() {
    let mut health = Health::new(check(), at(0));
    assert_eq!(health.tick(at(10)), Some(Action::Probe));
    assert_eq!(health.ended(End::Failed("exec \"check\": not found".to_owned()), at(10)), None);
    assert_eq!(health.ended(exited(0), at(11)), None, "nobody waits for this one");
    assert_eq!((health.shown().failing_streak, health.shown().log[0].exit_code), (1, -1));
}

#[test]
fn the_log_keeps_the_last_five_and_their_output_is_bounded() {
    let mut health = Health::new(check(), at(0));
    for number in 1..=7u64 {
        assert_eq!(health.tick(at(number * 10)), Some(Action::Probe));
        let output = if number == 7 { "é".repeat(3000) } else { number.to_string() };
        health.ended(End::Exited { code: 0, output }, at(number * 10));
    }
    let log: Vec<&str> = health.shown().log.iter().map(|probe| probe.output.as_str()).collect();
    assert_eq!(log[..4], ["3", "4", "5", "6"]);
    assert_eq!(log[4], "é".repeat(2048) + "...");
    assert_eq!(shortened("a".to_owned() + &"é".repeat(3000)).len(), 4095 + 3, "no half character");
}

#[test]
fn what_is_not_said_is_default() {
    let words = |words: &[&str]| -> Vec<String> { words.iter().map(ToString::to_string).collect() };
    let line = Config { test: Some(HealthTest::Shell("a b".to_owned())), ..Config::default() };
    let got = Check::of(&line).unwrap();
    assert_eq!(got.command, words(&["/bin/sh", "-c", "a b"]));
    assert_eq!((got.interval, got.timeout, got.retries), (INTERVAL, TIMEOUT, RETRIES));
    assert_eq!((got.start_period, got.start_interval), (Duration::ZERO, START_INTERVAL));
    let shell = words(&["/bin/bash", "-ec"]);
    let got = Check::of(&Config { shell, interval_ns: Some(5), timeout_ns: Some(0), ..line }).unwrap();
    assert_eq!(got.command, words(&["/bin/bash", "-ec", "a b"]));
    assert_eq!((got.interval, got.timeout), (Duration::from_nanos(5), TIMEOUT));
    for test in [None, Some(HealthTest::None), Some(HealthTest::Exec(Vec::new()))] {
        assert_eq!(Check::of(&Config { test, ..Config::default() }), None);
    }
}
