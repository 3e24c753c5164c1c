fn main() {
    let from: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let n: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    let mut events = 0; let mut faults = 0; let mut bad = 0;
    for seed in from..from + n {
        let (s, mut p) = watertight_sim::draw::draw(seed); if n == 1 { p.is_told = true; println!("{s:#?} {p:?}"); }
        match watertight_sim::run::run(&s, &p) {
            Ok(r) => { events += r.events; faults += r.faults; }
            Err(e) => { bad += 1; if bad < 12 { println!("seed {seed}: {e}"); } }
        }
    }
    println!("{n} seeds {events} events {faults} faults {bad} bad");
}
