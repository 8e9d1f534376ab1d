use super::*;

fn path(name: &str) -> PathBuf {
    Path::new("/q").join(name)
}

fn disk() -> FaultDisk {
    FaultDisk::new(Path::new("/q"))
}

fn read(disk: &FaultDisk, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(&path(name))?;
    let mut octets = vec![0; file.size()? as usize];
    file.read_at(&mut octets, 0)?;
    Ok(octets)
}

#[test]
fn only_what_was_synced_is_sure_to_stay() {
    let disk = disk();
    let file = disk.create(&path("a")).unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    assert_eq!(disk.unsynced(), 3, "two sectors and a name");
    assert_eq!(read(&disk.after_crash(|| false), "a").unwrap_err().kind(), ErrorKind::NotFound);
    disk.sync_dir(&path("")).unwrap();
    assert_eq!(read(&disk.after_crash(|| false), "a").unwrap(), []);
    file.sync_data().unwrap();
    assert_eq!(disk.unsynced(), 0);
    assert_eq!(read(&disk.after_crash(|| false), "a").unwrap(), [1; 1024]);
}

#[test]
fn sectors_are_lost_one_by_one() {
    let disk = disk();
    let file = disk.create(&path("a")).unwrap();
    disk.sync_dir(&path("")).unwrap();
    file.write_at(&[1; 1000], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[2; 1024], 256).unwrap();
    let mut keep = [false, true, false].into_iter();
    let after = disk.after_crash(|| keep.next().unwrap());
    let found = read(&after, "a").unwrap();
    assert_eq!((found.len(), found[511], found[512], found[1023]), (1024, 1, 2, 2));
}

#[test]
fn names_are_lost_one_by_one() {
    let disk = disk();
    disk.create(&path("a")).unwrap();
    disk.sync_dir(&path("")).unwrap();
    disk.rename(&path("a"), &path("b")).unwrap();
    let names = |keep: [bool; 2]| {
        let mut keep = keep.into_iter();
        let after = disk.after_crash(|| keep.next().unwrap());
        after.list(&path("")).unwrap().len()
    };
    let all = [[true, true], [true, false], [false, true], [false, false]];
    assert_eq!(all.map(names), [1, 0, 2, 1]);
}

#[test]
fn a_lost_directory_takes_its_files_along() {
    let disk = disk();
    disk.mkdir(&path("d")).unwrap();
    disk.create(&path("d/a")).unwrap();
    disk.sync_dir(&path("d")).unwrap();
    let after = disk.after_crash(|| false);
    assert!(read(&after, "d/a").is_err() && after.list(&path("d")).is_err());
}

#[test]
fn a_failed_sync_leaves_open_what_is_there_for_good() {
    let disk = disk();
    let file = disk.create(&path("a")).unwrap();
    disk.sync_dir(&path("")).unwrap();
    file.write_at(b"x", 0).unwrap();
    disk.fail(3..4, Fault::Io);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(read(&disk, "a").unwrap(), b"x", "as if nothing had happened");
    assert_eq!(read(&disk.after_crash(|| false), "a").unwrap(), b"");
    assert_eq!(read(&disk.after_crash(|| true), "a").unwrap(), b"x");
    file.write_at(b"y", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(read(&disk.after_crash(|| false), "a").unwrap(), b"y", "written again");
}

#[test]
fn it_stops_fails_and_fills_up() {
    let disk = disk();
    disk.set_capacity(100);
    let file = disk.create(&path("a")).unwrap();
    let full = file.write_at(&[1; 150], 0).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!((file.size().unwrap(), disk.space(&path("")).unwrap()), (100, 0));
    file.write_at(&[2; 100], 0).unwrap();
    disk.fail(3..4, Fault::NoSpace);
    assert_eq!(disk.mkdir(&path("d")).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.stop_after(5);
    disk.unlink(&path("a")).unwrap();
    assert!(disk.is_off());
    assert!(disk.mkdir(&path("d")).is_err() && file.read_at(&mut [0], 0).is_err());
}

#[test]
fn a_torn_sector_is_new_up_to_a_point_and_old_behind_it() {
    let disk = disk();
    let file = disk.create(&path("a")).unwrap();
    disk.sync_dir(&path("")).unwrap();
    file.write_at(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[2; 512], 0).unwrap();
    let found = read(&disk.after_torn_crash(|| Left::Torn(100)), "a").unwrap();
    assert_eq!((found[99], found[100], found[511]), (2, 1, 1));
}

#[test]
fn what_a_failed_sync_has_left_open_may_be_forgotten_while_it_is_used() {
    let disk = disk();
    let file = disk.create(&path("a")).unwrap();
    file.write_at(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[2; 512], 0).unwrap();
    disk.fail_some(0..100, Step::Sync, Fault::Io);
    file.sync_data().unwrap_err();
    assert_eq!(read(&disk, "a").unwrap(), [2; 512]);
    disk.evict(|| true);
    assert_eq!(read(&disk, "a").unwrap(), [1; 512]);
}

#[test]
fn only_steps_of_the_kind_fail() {
    let disk = disk();
    disk.fail_some(0..100, Step::Write, Fault::NoSpace);
    let file = disk.create(&path("a")).unwrap();
    assert_eq!(file.write_at(&[1; 512], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    file.sync_data().unwrap();
}

#[test]
fn a_bad_sector_is_good_again_when_it_is_written_as_a_whole() {
    let disk = disk();
    let file = disk.create(&path("a")).unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    disk.spoil(&path("a"), 600);
    let mut octet = [0];
    assert_eq!(file.read_at(&mut octet, 511).unwrap(), 1);
    file.read_at(&mut octet, 512).unwrap_err();
    file.write_at(&[2; 10], 600).unwrap_err();
    file.write_at(&[2; 512], 512).unwrap();
    assert_eq!(file.read_at(&mut octet, 600).unwrap(), 1);
}
