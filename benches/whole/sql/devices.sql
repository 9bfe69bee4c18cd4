-- Devices :devices:, of which each :distance:th is registered; the others are known from sends to their tokens.
-- Tokens look like real ones: 64 hexadecimal digits for APNs, 163 characters for FCM.
insert into devices (app_id, platform, environment, environment_proven, kind, source, token, token_digest, user_id,
                     locale, timezone, app_version, registered_at, last_sent_on)
select :app:, :platform:, case :platform: when 1 then 1 else 0 end, :platform: = 1, 0,
       case when registered then 0 else 1 end, token,
       substring(sha256(convert_to(token, 'UTF8')) from 1 for 16),
       case when registered then 'u' || i end, case when registered then 'de-DE' end,
       case when registered then 'Europe/Berlin' end, case when registered then '5.2.0' end,
       case when registered then now() end, case when not registered then current_date end
from (select i, i % :distance: = 0 as registered,
             case :platform:
               when 1 then encode(sha256(convert_to('device ' || i, 'UTF8')), 'hex')
               else left(translate(encode(sha256(convert_to('installation ' || i, 'UTF8')), 'base64'), E'+/=\n', '-_'), 22)
                    || ':APA91b'
                    || left(translate(encode(sha512(convert_to('first ' || i, 'UTF8'))
                                             || sha512(convert_to('second ' || i, 'UTF8')), 'base64'), E'+/=\n', '-_'), 134)
             end as token
      from generate_series(1, :devices:) i) made
order by i;
