import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** A request by one of Java's own HTTP clients. Prints the answer's status. */
public class Client {
    public static void main(String[] words) throws Exception {
        URI url = URI.create(words[1]);
        if (words[0].equals("HttpClient")) {
            HttpRequest request = HttpRequest.newBuilder(url).build();
            System.out.println(HttpClient.newHttpClient().send(request, BodyHandlers.discarding()).statusCode());
        } else {
            System.out.println(((HttpURLConnection) url.toURL().openConnection()).getResponseCode());
        }
    }
}
