<?php
// A request by PHP's curl or by its streams. Prints the answer's status.
[, $way, $url] = $argv;
if ($way === 'curl') {
    $curl = curl_init($url);
    curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
    if (curl_exec($curl) === false) {
        fwrite(STDERR, curl_error($curl));
        exit(1);
    }
    echo curl_getinfo($curl, CURLINFO_RESPONSE_CODE), "\n";
} else {
    @file_get_contents($url);
    echo isset($http_response_header) ? explode(' ', $http_response_header[0])[1] : error_get_last()['message'], "\n";
}
