/* Socket options by what they are for. */
#pragma once

/* A TCP peer that vanished without a word is noticed: after idle_s of silence it is asked `count`
 * times, interval_s apart. Failing is harmless. */
void sockopt_keep_alive(int fd, int idle_s, int interval_s, int count);
