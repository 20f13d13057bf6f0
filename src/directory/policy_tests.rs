use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::policy::{DialAlert, DialCap};
use super::{DialVerdict, Directory};
use crate::clock::{Clock, UtcTime};
use crate::config::Config;
use crate::store::{OpenOptions, Store, StoreError};

struct Desk {
    folder: TempDir,
    clock: Clock,
    store: Store,
    directory: Directory,
    organization: Uuid,
}

impl Desk {
    async fn start(start: &str, config: &str) -> Desk {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(UtcTime::parse(start).unwrap()));
        Desk::open(folder, clock, config).await
    }

    async fn open(folder: TempDir, clock: Clock, config: &str) -> Desk {
        let store = Store::open(folder.path(), OpenOptions { cache_bytes: 1 << 20 }, clock.clone()).unwrap();
        let config: Config = toml::from_str(&format!("{config}\nallow = [\"+\"]")).unwrap();
        let directory = Directory::open(store.clone(), &config).await.unwrap();
        let organization = directory.organization("").id;
        Desk { folder, clock, store, directory, organization }
    }

    fn judge(&self, number: &str) -> DialVerdict {
        self.directory.may_dial(self.organization, number).unwrap()
    }

    async fn talked(&self, seconds: u64) {
        let (directory, organization, at) = (self.directory.clone(), self.organization, self.clock.utc());
        let charged = self.store.write(move |change| directory.charge(change, organization, at, seconds));
        charged.await.map_err(|error: StoreError| error).unwrap();
    }

    fn alerts(&self) -> Vec<DialAlert> {
        self.directory.dial_alerts(self.organization).unwrap()
    }
}

const BERLIN: &str = "[organization]\ntime_zone = \"Europe/Berlin\"\n[dial]\n";

#[tokio::test]
async fn hours_are_those_of_the_organizations_wall() {
    // A Thursday before the clocks change, a Monday after, and a Saturday.
    for (at, verdict) in [
        ("2026-03-26T07:30:00Z", DialVerdict::Allowed),
        ("2026-03-26T06:59:59Z", DialVerdict::OutsideHours),
        ("2026-03-30T06:00:00Z", DialVerdict::Allowed),
        ("2026-03-30T16:00:00Z", DialVerdict::OutsideHours),
        ("2026-03-28T10:00:00Z", DialVerdict::OutsideHours),
    ] {
        let desk = Desk::start(at, &format!("{BERLIN}hours = \"Mo-Fr 08:00-18:00\"")).await;
        assert_eq!(desk.judge("+4930123456"), verdict, "{at}");
        assert_eq!(desk.directory.may_dial_now(desk.organization).unwrap(), verdict, "{at}");
    }
}

#[tokio::test]
async fn an_order_for_later_is_judged_by_the_hours_of_its_time() {
    let desk = Desk::start("2026-03-26T22:00:00Z", &format!("{BERLIN}hours = \"Mo-Fr 08:00-18:00\"")).await;
    let order = |at: &str| {
        let at = UtcTime::parse(at).unwrap();
        desk.directory.may_order(desk.organization, "+4930123456", true, at).unwrap()
    };
    assert_eq!(order("2026-03-27T08:00:00Z"), DialVerdict::Allowed);
    assert_eq!(order("2026-03-28T08:00:00Z"), DialVerdict::OutsideHours);
}

#[tokio::test]
async fn dear_numbers_need_a_prefix_that_names_them() {
    let desk = Desk::start("2026-03-26T10:00:00Z", "[dial]").await;
    for number in ["+881612345678", "+4990012345", "+19005550100", "0900 12345"] {
        let verdict = desk.judge(number);
        assert_eq!(verdict, DialVerdict::Premium, "{number}");
        let listed = desk.directory.may_order(desk.organization, number, true, desk.clock.utc()).unwrap();
        assert_eq!(listed, DialVerdict::Premium, "{number}: listing does not open it");
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), OpenOptions { cache_bytes: 1 << 20 }, desk.clock.clone()).unwrap();
    let config: Config =
        toml::from_str("[dial]\nallow = [\"+\", \"+8816\", \"+49900\"]\ndeny = [\"+499005\"]").unwrap();
    let directory = Directory::open(store, &config).await.unwrap();
    let judge = |number| directory.may_dial(directory.organization("").id, number).unwrap();
    assert_eq!(judge("+881612345678"), DialVerdict::Allowed);
    assert_eq!(judge("+881512345678"), DialVerdict::Premium);
    assert_eq!(judge("+4990012345"), DialVerdict::Allowed);
    assert_eq!(judge("+4990052345"), DialVerdict::Denied);
}

#[tokio::test]
async fn the_days_minutes_end_at_their_cap_and_begin_anew_at_midnight_even_after_a_restart() {
    let cap = format!("{BERLIN}max_minutes_per_day = 10");
    let desk = Desk::start("2026-03-26T10:00:00Z", &cap).await;
    desk.talked(7 * 60).await;
    assert!(desk.alerts().is_empty());
    desk.talked(60 + 59).await;
    let nearly = DialAlert { cap: DialCap::Minutes, reached: false, used: 8, limit: 10 };
    assert_eq!((desk.alerts(), desk.alerts()), (vec![nearly], vec![]));
    assert_eq!(desk.judge("+4930123456"), DialVerdict::Allowed);
    desk.talked(61).await;
    assert_eq!(desk.judge("+4930123456"), DialVerdict::MinutesUsed);
    assert_eq!(desk.alerts(), [DialAlert { reached: true, used: 10, ..nearly }]);

    desk.store.close().await;
    let Desk { folder, clock, .. } = desk;
    let desk = Desk::open(folder, clock, &cap).await;
    assert_eq!(desk.judge("+4930123456"), DialVerdict::MinutesUsed, "the account outlives the process");
    assert_eq!(desk.directory.until_tomorrow(), Duration::from_secs(13 * 3_600), "11 o'clock in Berlin");
    desk.clock.advance(Duration::from_secs(13 * 3_600));
    assert_eq!(desk.judge("+4930123456"), DialVerdict::Allowed);
}

#[tokio::test]
async fn minutes_of_live_calls_count_while_they_last() {
    let desk = Desk::start("2026-03-26T10:00:00Z", "[dial]\nmax_minutes_per_day = 10").await;
    let places = [desk.directory.dial_place(), desk.directory.dial_place()];
    desk.clock.advance(Duration::from_secs(299));
    assert_eq!(desk.judge("+4930123456"), DialVerdict::Allowed);
    desk.clock.advance(Duration::from_secs(1));
    assert_eq!(desk.judge("+4930123456"), DialVerdict::MinutesUsed);
    drop(places);
    assert_eq!(desk.judge("+4930123456"), DialVerdict::Allowed, "nobody talked");
}

#[tokio::test]
async fn there_are_so_many_places_and_the_last_one_raises_an_alert() {
    let desk = Desk::start("2026-03-26T10:00:00Z", "[dial]\nmax_calls = 5").await;
    let mut places: Vec<_> = (0..3).map(|_| desk.directory.dial_place().unwrap()).collect();
    assert!(desk.alerts().is_empty());
    places.push(desk.directory.dial_place().unwrap());
    assert_eq!(desk.alerts(), [DialAlert { cap: DialCap::Calls, reached: false, used: 4, limit: 5 }]);
    places.push(desk.directory.dial_place().unwrap());
    assert!(desk.directory.dial_place().is_none());
    assert_eq!(desk.alerts(), [DialAlert { cap: DialCap::Calls, reached: true, used: 5, limit: 5 }]);
    places.pop();
    assert!(desk.directory.dial_place().is_some());
}
