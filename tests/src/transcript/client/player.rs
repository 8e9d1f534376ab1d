//! Plays a transcript of the sending side and compares what comes with what is expected.
//!
//! It is played whole, octet by octet, and cut at random places. Everything that is said and
//! told must be listed, so that every play comes to the same.

use std::fmt::Write as _;

use smtpd_engine::client::Wait;

use super::driver::Driver;
use super::{Act, Outside, Transcript, What, params};
use crate::rng::Rng;
use crate::transcript::escape::escape_for_people;
use crate::transcript::player::{Cut, parts};
use crate::transcript::{Cuts, Failure};

/// Plays `transcript` whole, octet by octet, and `times` times cut at random places.
///
/// # Errors
/// The first expectation that does not hold.
pub fn play_every_way(transcript: &Transcript, times: u64) -> Result<(), Failure> {
    play(transcript, &Cut::Whole)?;
    for cut in std::iter::once(Cut::EachOctet).chain((0..times).map(Cut::Random)) {
        play(transcript, &cut).map_err(|failure| Failure {
            text: format!("cut {cut:?}: {}", failure.text),
            ..failure
        })?;
    }
    Ok(())
}

/// Plays `transcript` once.
///
/// # Errors
/// The first expectation that does not hold.
pub fn play(transcript: &Transcript, cut: &Cut) -> Result<(), Failure> {
    let wrong = |line, text, so_far: &str| Failure {
        file: transcript.file.clone(),
        line,
        text,
        so_far: so_far.to_owned(),
    };
    let (line, words) = &transcript.session;
    let (params, immediate) = params(words).map_err(|text| wrong(*line, text, ""))?;
    // What is given at once is one chunk.
    let content_cut = if params.chunking { &Cut::Whole } else { cut };
    let mut driver = Driver::new(params, immediate);
    let mut rng = Rng::new(if let Cut::Random(seed) = cut { *seed } else { 0 });
    let mut so_far = String::new();
    let mut wait = None;
    for act in &transcript.acts {
        let cut = if let What::Body(_) = act.what { content_cut } else { cut };
        done(&mut driver, act, cut, &mut rng).map_err(|text| wrong(act.line, text, &so_far))?;
        let _ = writeln!(so_far, "    line {}", act.line);
        let said = driver.said();
        if said != act.said {
            let [expected, got] = [&act.said, &said].map(|octets| escape_for_people(octets));
            let text = format!("expected `C| {expected}`\n             got `C| {got}`");
            return Err(wrong(act.line, text, &so_far));
        }
        let mut told = driver.told();
        // What it waits for in the end does not depend on the cuts.
        if driver.wait() != wait || matches!(act.what, What::Open) {
            match driver.wait() {
                Some(Wait::Caller) => told.push("caller".into()),
                Some(Wait::Content) => told.push("content".into()),
                Some(Wait::Input | Wait::Tls) => {}
                None => told.push("close".into()),
            }
        }
        wait = driver.wait();
        let mut told = told.into_iter();
        for (line, expected) in &act.told {
            let got = told.next().unwrap_or_else(|| "nothing".into());
            if got != *expected {
                let text = format!("expected `E: {expected}`\n             got `E: {got}`");
                return Err(wrong(*line, text, &so_far));
            }
            let _ = writeln!(so_far, "    E: {got}");
        }
        if let Some(more) = told.next() {
            return Err(wrong(act.line, format!("expected no more, got `E: {more}`"), &so_far));
        }
    }
    Ok(())
}

fn done(driver: &mut Driver, act: &Act, cut: &Cut, rng: &mut Rng) -> Result<(), String> {
    if driver.wait().is_none() && !matches!(act.what, What::Open) {
        return Err("the session was closed already".into());
    }
    let outcome = match &act.what {
        What::Open => {
            driver.run();
            Ok(())
        }
        What::Send(octets) => {
            for part in parts(octets, cut, Cuts::Anywhere, rng) {
                if !driver.send(&octets[part]) {
                    break;
                }
            }
            Ok(())
        }
        What::Mail(message) => driver.mail(message),
        What::Body(content) => {
            let mut parts = parts(content, cut, Cuts::Anywhere, rng).into_iter();
            parts.try_for_each(|part| driver.body(&content[part]))
        }
        What::Pass(time) => {
            driver.pass(*time);
            Ok(())
        }
        What::Outside(Outside::End) => driver.end_of_data(),
        What::Outside(Outside::Quit) => driver.quit(),
        What::Outside(Outside::Tls) => {
            driver.tls_started();
            Ok(())
        }
        What::Outside(Outside::HangUp) => {
            driver.hang_up();
            Ok(())
        }
    };
    outcome.map_err(|not_now| not_now.to_string())
}
